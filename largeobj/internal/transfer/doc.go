// Package transfer moves the bytes of one large object between hosts: verified, resumable, in bounded memory.
//
// It knows neither network nor calls. The receiving side gets a [Fetcher], which asks for ranges; the sending side answers
// a request with [Serve]. Between them go chunks of up to 256 KiB. Leaves of 4 MiB are what is hashed, verified and
// resumed.
//
// # Usage
//
// One side has a [Source]: [Bytes], a file of a [Dir], a [Spool] for what comes out of an io.Reader, or a complete
// [Buffer]. For each request it calls
//
//	err := transfer.Serve(ctx, src, leaves, ranges, func(c *transfer.Chunk) error { return stream.Send(c) })
//
// The other side has a [Manifest] and a destination, a [Buffer] or a [File], and calls
//
//	dst := transfer.NewBuffer(nil, "")
//	defer dst.Close()
//	err := transfer.Receive(ctx, manifest, fetcher, dst, transfer.Options{Progress: show})
//	b, err := dst.Bytes()
//
// When Receive fails, the destination keeps the leaves that are verified, and another Receive for the same object asks
// only for the rest: with the same Buffer, or with a File of the same path, also in another process. A request that failed
// because the connection was lost is repeated within Receive, see [Retry]. What is sent again is at most one leaf for each
// request that was open.
//
// A [Reader] hands the bytes of an object, or a part of it, on in order as they arrive.
//
// An object of unknown size (Manifest.Size -1) comes in sequence over one stream; its end says the size. When that stream
// is lost after the size is known, the rest comes as usual.
//
// # Concurrency
//
// Serve runs on the goroutine of its caller, and one that hashes beside send. Receive runs two goroutines for each stream,
// one that reads and one that verifies, and one that writes the journal of a File; all have ended when it returns. A Spool
// reads in a goroutine of its own until its reader ends or it is closed. Types say what else may overlap.
//
// Back-pressure is send's and Next's: nothing is read ahead of them but two chunks that wait to be verified.
//
// # Ownership
//
// send borrows its chunk. Next decodes into memory of the receiver, which is the place of the bytes in the destination
// when that is in memory. What Buffer.Bytes and Buffer.Slice return is valid until Close.
//
// # Limits
//
// Objects have up to 64 TiB, leaves 64 KiB to 64 MiB, a request 1024 ranges, a receiver 64 streams (8 unless configured; 16 for package largeobj).
// Objects in memory have 64 MiB at most, and 512 MiB together ([ProcessBudget]); what is above goes to temporary files.
// Beside that a stream to a file has three buffers of 256 KiB. A Spool has up to 64 GiB unless configured.
//
// Everything that a peer says is checked: offsets, lengths, sizes, hashes, order, and that no more comes than was asked
// for. A violation is a *[ProtocolError] and ends the transfer; a leaf with a wrong hash is fetched once more, then a
// *[CorruptError] does. There are no timeouts here: a peer that sends nothing is the caller's business.
//
// # What counts as the same object
//
// The ID of a manifest decides. Equal IDs must mean equal bytes: leaves of one transfer are taken as those of the next.
// For a [Dir] that is the identity of the file on its host, so a copy on another host is another object. A file that is
// changed through a shared mapping of another process may keep its time for a while, and then is the same by mistake.
//
// # What was measured and chosen
//
// On two cores at 3 GHz; blake3 over leaves of 4 MiB on one of them, and with both; then in chunks of 256 KiB:
//
//	github.com/zeebo/blake3 v0.2.4        3.1 GB/s   3.2 GB/s   3.3 GB/s       0 allocations
//	lukechampine.com/blake3 v1.4.1        3.3 GB/s   4.4 GB/s   2.0 GB/s     978 allocations
//
// The second one uses other cores, which others need, and only for whole leaves; we hash chunks as they come. Both depend
// on klauspost/cpuid only. So it is the first.
//
// Serve and Receive in one process, in memory: 1.4 GB/s with both ends hashing, 2.3 GB/s when the sender has the hashes,
// 8.9 GB/s without verification (BenchmarkServeReceive). To a file, with every byte synchronized to disk at the end:
// 0.4 GB/s, the same whether the journal is written all the time or never (BenchmarkFile). So it is written all the time.
//
// Reading and hashing a file in the page cache: 2.6 GB/s with pread, 2.5 when it is mapped for this, 2.8 when it stays
// mapped. So files are read with pread: a map that is truncated ends the process.
//
// More streams help when the path, not the processor, is the limit. So a receiver begins with one or two and doubles that while
// it raises the goodput by more than 25 %, then adds another while that raises it by more than 10 %. One by one, and judging 4
// MiB each time, a path of 20 ms and 1 % loss, on which a stream gets 1 MB/s, had 2.8 MB/s after ten seconds; now it has 11.6 of
// 12.5 after five. On a path of 100 MB/s that gives 25 MB/s to a stream it settles at four and
// has 98 % (TestStreamsFollowTheGoodput). A stream asks for what it gets in two seconds: on a path of 200 ms a stream that
// waits for its next answer costs 10 %, which is what one more stream makes good.
package transfer
