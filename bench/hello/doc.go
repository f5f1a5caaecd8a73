// Command hello is the smallest server that answers a call. Bench builds it to report what Mycel adds to a binary.
package main
