// Command largeobject hands arrays of up to a gigabyte to another process: in shared memory, then as a stream.
//
// It starts itself a second time, as the server, and needs no set-up. Use -mib to choose the largest array.
package main
