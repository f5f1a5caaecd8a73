// Command quickstart runs a server and a client over loopback QUIC and makes a call of each kind between them.
//
// It needs no set-up: certificates are made when it starts.
package main
