// Command example runs three servers and a client that find each other through NATS, and shows what happens when some go.
//
// By default it starts a server of NATS in the same process; with -nats URL it uses the one there, in which it makes a
// bucket "mycel-example". What a server and a client do for it is in greeter.go and main.go.
package main
