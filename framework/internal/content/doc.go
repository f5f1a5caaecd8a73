// Package content turns messages into bodies and back, and makes bodies smaller where that has been measured to pay.
//
// A message is encoded by its codec and then, if the rules below say so, remembered (package dedup) and compressed (package
// wire/compress), in this order:
//
//	message --codec--> plain body --dedup--> frame --compress--> what is sent
//
// The codec in the reference before the body says what was done: bit 6 for a frame, the rest for the compression. None of it
// ever changes what arrives.
//
// # Rules
//
// Everything is decided for each [Kind], the requests or the responses of a method, by what sending a byte costs on the
// connection: the time that the path takes or, where the processors are the limit, that they take.
//
//   - Lists of numbers, and of structs of numbers, are packed by column codecs, field by field (codec.Packer).
//   - Whole bodies are compressed from 1 KiB on: by the codec with the least cost by moving averages of what it saved and took,
//     reconsidered by trying another one now and then (compress.Chooser).
//   - Messages are remembered instead, where that costs less than packing and compressing them (ways): in a streaming call, one
//     of at most 16 KiB is sent as the difference from the one before it ([Deltas]); in a unary call, parts that repeat are
//     sent as references to what the receiver has, and parts that resemble earlier ones as differences from them ([Link]).
//     Both ways are measured on 256 messages; the one that loses is tried again now and then.
//   - Nothing of this on connections whose peer shares memory: there a byte costs next to nothing.
//
// # Tables
//
// A connection has a table for each direction and principal, made when it is first used. Its notices travel on the control
// stream. A message that refers to what this side does not have, which happens after a reset or when a budget is spent, waits
// for the answer to a question: at most 64 messages of 1 MiB together on a connection, for two seconds. Otherwise it fails
// with a [LostError] before a handler has seen it, and the caller sends the whole message. An inline handler, which runs on
// the goroutine that reads the connection, never waits.
//
// # Limits
//
// A table keeps 1024 bodies, of at most 64 KiB each, and as many bytes as the receiver's hello offers; the receiver up to
// twice as much while bodies that were evicted may still be referred to. All tables and streams of the process together keep
// 256 MiB in each role; when these are spent, what was not used lately is given up.
package content
