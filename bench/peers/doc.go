// Command peers measures remote calls over several transports in one process, in turn.
//
// It is started by package bench, one directory up, whose documentation shows the usage. It is a module of its own so
// that the libraries below stay away from Mycel's users.
//
// # What is measured
//
// Server, clients and harness share one process and talk over loopback. For each case, a scenario's size and
// concurrency, every transport is started and warmed up; then the transports take turns, round by round, so that
// whatever else the machine does disturbs them alike. The report gives the median of the rounds, metric by metric,
// and the extremes. CPU time, allocations and garbage are those of the whole process. Bytes on the wire are what the
// clients' sockets carried in both directions, without the headers of IP, TCP and UDP. Each round begins after a
// garbage collection and beside about 60 MB of live payload, so the collector runs as rarely for everybody as in a
// service with state.
//
// Payloads are typed Go structs, and each transport encodes and decodes them at both ends: a call returns what the
// server's handler received. They are samples of thousands of different records, or windows into 48 MiB of random
// bytes. Closed loops (all but "mixed") start the next call when the last is complete. "mixed" starts calls at a fixed
// rate and times them from when they were due, so that a call that could not even start does not count as fast.
//
// A ratio is larger than 1 where Mycel is better, whichever direction of the metric that is.
//
// # Large objects
//
// "large" hands objects over one way, to a handler that reads the first and last 64 bytes and a word of every page and
// answers with a digest, which the harness checks. "mycel" makes each object in shared memory and writes its first 64
// bytes only: a producer that works in place saves the copy, and its work is not what is measured. "mycel-copy" copies bytes from
// the heap there. "mycel-streams" fetches over QUIC, verified, into memory. "quic-raw" is one stream of quic-go with
// writes of 256 KiB and one buffer at the receiver: what the network path allows. "wss" sends the bytes in a message, whose
// handler decodes them without copying. Client and server have stores of their own, and a row fails when its objects
// took another way than its name says. The case of 256 MiB takes long and is measured only when "large" is named.
// Rounds begin after a garbage collection, which frees the memory that mycel-streams would use again, while quic-raw keeps
// its buffer: a round of one object of 256 MiB measures fresh memory too. With -duration 6s most objects find it warm.
//
// In these rows "first_byte_us" and "last_byte_us" are the times from the call until the first byte was at the receiver (of
// mycel-streams: had left the sender) and until all was there, where one object is under way at a time. "peak_mb" is the
// proportional set size, in which what client and server both map counts once, at its largest above what it was
// before: sampled every 2 ms and in the handler while one object for each caller is handed over on a new connection, not in
// the rounds. The payload in the heap does not count.
//
// "handover" is the latency of calls that refer to an object which is in shared memory already; the handler opens it and reads
// 64 bytes. Its baseline "small-call" is the echo of 100 bytes, measured in turns with it.
//
// "transfer" downloads a file of 1 GiB over streams, and "transfer-resume" does so again but cancels when 60 % have been
// sent, and starts again. There "peak_mb" is the peak of the resident set size (reset through /proc/self/clear_refs) above what
// it was before, of both sides together; "resent_bytes" is what the server sent twice and "open_ranges" how many ranges it was
// sending when the download was canceled. They take a while, so they must be named:
//
//	go run ./bench -scenario large,handover,transfer -duration 2s
//
// A ratio of these rows is of "mycel" as everywhere, or of the transport in its key "of": mycel-streams over quic-raw is the
// share of the network that is used.
//
// # Codecs alone
//
// The scenario "codec" encodes and decodes messages without a network, in one goroutine: Mycel's codec beside four
// libraries, which package codecs describes. It takes about 25 seconds, so it is no part of the overview:
//
//	go run ./bench -scenario codec -rounds 5
//
// Its codecs take turns like transports, and its rows and ratios stand among the others, as "codec-encode" and
// "codec-decode". There "transport" is the codec and "message" what it worked on, a key that calls do not have; the
// metrics are "ns_per_op", "encoded_bytes", "allocs_per_call" and "alloc_bytes_per_call", the last two absent if
// nothing was allocated. Time is that of the clock, with what the garbage collector takes from the goroutine.
//
// # Content
//
// "content" sends messages in which something repeats, changes little or is text or numbers, and others in which nothing can be
// saved. Message n of a stream is a function of n, so that all transports send the same:
//
//	dashboard   50 figures, of which three or four change from one message to the next; a server stream, and unary calls
//	sensors     columns of times, temperatures, voltages and noise, and readings with a time and a value
//	config      one of 48 configurations, drawn from a Zipf distribution, behind a head that is never the same
//	log         27 lines from five templates
//	compressed  2 KiB out of a compressed stream
//	random      2 KiB of noise
//
// A unary call brings one to the server, which answers with a sum of all that it received; 8 calls are outstanding. A stream
// brings them to the client, one stream at a time. "mycel-quic" makes messages smaller as it does by default, "mycel-quic-off" sends them as
// they are, "wss" is the baseline and "wss+deflate" the baseline with permessage-deflate, whose windows of 32 KiB go on from
// message to message in both directions, at the library's default level.
//
// Everything is measured on loopback, and on a link of 10 Mbit/s with a round trip of 20 ms and a queue of 64 KiB, which package
// netlab emulates; where it cannot, the report says so. 1024 messages travel on each connection before the first round, so that
// the figures are of a connection that has learned. "wire" are bytes at the sockets as everywhere, in both directions, with headers,
// acknowledgements and answers; "payload" is what the message itself was sent as, where that is known; "link" is what the emulated link carried with
// the headers of IP, UDP and TCP and the acknowledgements of TCP, which "wire" has not. Bytes do not depend on how busy the
// machine is, the rest does. Targets are printed below the table: speed is the median of the rounds, each compared with the
// round beside it; on the link, messages per second are to rise as bytes fall, to 80 %, as far as round trips, one for each stream, and loopback allow.
//
//	go run ./bench -scenario content -rounds 5
//
// It takes about four minutes.
//
// # Emulated links
//
// "wan" and "mixed-wan" put server and clients on two hosts of package netlab, with a link of 100 Mbit/s between them; they run
// only when named, and say loudly what they cannot measure, without network namespaces or a congestion control of TCP:
//
//	go run ./bench -scenario wan,mixed-wan -rounds 1
//	go run ./bench -scenario wan -path 20ms-0%,20ms-1% -transport mycel,wss-cubic,wss-bbr
//
// A path is named after its round trip and its loss each way; the queue has 256 KiB, in mixed-wan also 2 MiB. Small calls start
// 200 times a second for at least six seconds, after two that do not count. Bulk is the download of a large object over
// mycel, a stream of messages of 240 KiB over wss, measured after five seconds. wss-cubic and wss-bbr are wss over the kernel's TCP
// with that congestion control at both ends; those with -2 have a second connection for bulk. Connecting is timed from a
// client that is new to the first answer; the resumed one of mycel sends its call in the first packets. The report ends with
// which targets are met.
//
// On a machine that is busy otherwise these figures mean little: with 16 processes waiting for 2 cores the p99 of small calls
// alone was 92 ms on a link of 20. Below, the program ran with real-time priority (chrt -r 1), 2 cores at 3 GHz:
//
//	mixed-wan, 20 ms    alone p50/p99   beside bulk p50/p99   share of the link
//	  mycel, 256 KiB      21.9 / 26.6       26.0 / 32.6                 94 %
//	  mycel, 2 MiB        20.9 / 27.5       25.5 / 31.7                 94 %
//	  wss-cubic, 2 MiB    20.7 / 23.4        308 /  470                 96 %
//	  wss-cubic-2, 2 MiB  20.7 / 23.2        165 /  235                 96 %
//
// The p99 beside bulk is 1.2 times that alone, in other runs 1.1 to 1.5, of 1.5 wanted. With a window for each connection instead
// of one for all from a host it was 1.4 to 1.8 times that.
//
//	wan                        mycel    wss-cubic   wss-bbr
//	bulk, 20 ms, 1 %, MB/s      11.2       0.74       11.9
//	bulk, 20 ms, 3 %, MB/s       4.8       0.41       11.6
//	bulk, 20 ms, 0 %, MB/s      11.6       12.0       11.6
//	bulk, 1 ms, 1 %, MB/s       11.5        6.0       11.8
//	bulk, 100 ms, 0 %, MB/s     10.8        7.8       11.8     (other runs: 7.5 to 9.7, 11.5, 11.8)
//	bulk, 100 ms, 1 %, MB/s      1.0       0.21       11.3
//	small p90, 20 ms, 0 %       21.7       21.6       21.2     ms
//	small p90, 20 ms, 1 %       21.6       30.5       26.0     ms
//	small p90, 20 ms, 3 %       22.9       51.0       41.6     ms
//	first answer, cold, 50 ms    108        212        209     ms (CPU included)
//	first answer, resumed         57        209        209     ms
//
// # Idle connections
//
// "connections" opens 10 000 clients, or as many as -clients says, once, in the process of the harness; the server is another one.
// Both raise their limit of file descriptors as far as they may, and say what it is: a client takes one, and so does the server for
// each over TCP. Heap, stacks, goroutines and resident set size are the difference of each process to before, divided by the clients,
// after a garbage collection, three seconds after the last has connected; what the kernel holds for sockets is not in them. Then
// all clients subscribe, and "half ms" and "last ms" say how long after the server began to send a message to all of them it was there.
// Both ends of wss read into 4 KiB here, the default of the library: with the 64 KiB of the other scenarios each connection would
// have 128 KiB more. Opening 10 000 connections over QUIC takes 23 s on two cores that do
// nothing else, over WebSocket 10 s.
//
// # The baseline
//
// wss is hypha-rpc's way of calling, in the best form we can give it: one binary WebSocket message over TLS 1.3 per
// call, two MessagePack maps with string keys back to back (see hyphaframe.go), answers found by session identity,
// a goroutine per request, messages above 256 KiB sent in parts. It leaves out what makes hypha-rpc itself slower: the relay between
// the clients, the acknowledgement of each part, heartbeats, and generators that take a call per item (here the server
// pushes). Buffers are pooled at both ends, there is no compression and no wait, and TCP_NODELAY is on as always in Go.
// wss-batch adds the combining writer that Mycel's lanes have, to show what of the difference that alone makes. A single
// stream has one sender and thus nothing to combine.
//
// # Why these libraries
//
// The benchmarks of libraries_test.go chose them, on 2 cores at Go 1.26 (medians; the machine was not quiet, so only
// figures of the same block compare):
//
//	MessagePack, encode and decode      100 B record        16 KiB report
//	  tinylib/msgp 1.6.5, generated     0.21 µs   5 allocs   15.7 µs   145 allocs   chosen
//	  shamaton/msgpack 3.1.0            0.82 µs  12 allocs   38.6 µs   185 allocs
//	  vmihailenco/msgpack 5.4.1         1.14 µs   7 allocs   93.7 µs   183 allocs
//	  the same, map[string]any          1.27 µs  23 allocs    127 µs  1709 allocs
//
//	WebSocket, echo, 64 outstanding     250 B      16 KiB     255 KiB
//	  lxzan/gws 1.8.9                   20.6 µs    41.1 µs    419 µs    chosen
//	  gorilla/websocket 1.5.3           22.2 µs    48.1 µs    416 µs
//	  coder/websocket 1.8.15            27.7 µs    71.8 µs    606 µs
//
// The chosen codec is generated code with the keys compiled in, which dynamic languages do not have: it flatters the
// baseline. The keys on the wire are the same.
//
// # Adding a transport
//
// Implement endpoint and caller of transport.go and list the transport there. The handlers of streams call sendTicks
// and sendBlobs of payload.go.
package main
