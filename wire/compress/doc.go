// Package compress makes payloads smaller: text and structures, columns of numbers; and finds out where that pays.
//
// # Usage
//
//	b, ok := compress.Try(buf[:0], plain, compress.S2)          // false: send plain, with codec None
//	plain, err := compress.Decode(nil, b, codec, maxSize)       // never more than maxSize bytes
//
//	b, err := compress.AppendColumn(buf[:0], temperatures, max) // []float64: codec Decimal64
//	v, err := compress.DecodeColumn[float64](nil, b, maxSize)
//
//	e, err := compress.NewBlockEncoder(compress.S2)             // of a large body
//	b = e.Append(b[:0], piece)                                  // send it, then append the next piece
//	d := compress.NewBlockDecoder(maxSize)
//	plain, n, err := d.Decode(plain, b)                         // a block that has arrived; [Decode] with Blocks: all of them
//
//	chooser := compress.NewChooser(compress.S2, compress.Zstd)  // one for each method and direction
//	codec := chooser.Choose(len(plain), path)                   // None if it does not pay
//	chooser.Observe(codec, len(plain), len(b), spent)           // what came of it
//
// The codec is not in the encoding: whoever frames it says which one it was.
//
// # Concurrency
//
// All functions are safe for concurrent use, and so is a [Chooser]. A [BlockEncoder] and a [BlockDecoder] belong to one
// goroutine at a time. No goroutines are started.
//
// # Ownership
//
// Arguments are borrowed until a function returns, and must not change until then, except where [DecodeElements] says so.
// Results are copies, appended to memory of the caller, which may not
// overlap the argument. After an error they are what was passed in; memory behind its end may have been written.
//
// # Limits
//
// The plain size is at the start of every encoding. It is compared with the limit of the caller, and with the size of the
// encoding, before anything is allocated: an encoding of n bytes stands for at most 64 KiB ([FreeBytes]) or 100×n bytes
// ([MaxRatio]), whichever is more. Senders keep to that. Blocks have 64 KiB free together, not each.
// Encoders and decoders are pooled: a zstd encoder has about 3 MiB, everything else less than 300 KiB, and there are
// about as many as processors.
//
// # Security
//
// Each payload is encoded by itself: there are no dictionaries, and nothing is carried from one payload to another. But
// the size of an encoding tells of its content. Where a payload has both a secret and text that an attacker chooses, it
// may not be compressed (CRIME, BREACH): whoever builds payloads has to keep the two apart.
//
// # Format
//
// This is part of the protocol. Varints are those of Protocol Buffers (package encoding/binary); a signed number s is
// written as its zigzag: 2s, or -2s-1 if it is negative. Numbers of more than a byte are little-endian.
//
//	codec            encoding
//	 0  none         the plain bytes
//	 1  s2           a block of S2, whose first varint is the plain size, without dictionary; one of Snappy is one, too
//	 2  zstd         varint plain size, frames of RFC 8878 without dictionary; our encoder writes one, without checksum
//	16  delta64      varint plain size, blocks of integers of 8 bytes
//	17  delta32      varint plain size, blocks of integers of 4 bytes, which are extended to 8 with their sign
//	18  decimal64    varint plain size, blocks of decimals that are float64
//	19  decimal32    varint plain size, blocks of decimals that are float32
//	32  blocks       blocks that are encoded one by one
//
// Blocks are for bodies that are large: encoding, sending and decoding overlap, and both sides need memory for one block. They
// end where the body ends, which is for its frame to say; an empty body has none. A block is
//
//	codec     one byte: none, s2 or zstd
//	size      varint, 1 to 256 KiB ([MaxBlockBytes])
//	encoding  so many bytes, which stand for 1 byte to 256 KiB
//
// All blocks up to any one of them stand for at most 64 KiB plus 100 times the bytes that they take. A sender makes blocks of
// 64 to 256 KiB; what is smaller than receivers accept it sends plain.
//
// The plain bytes of the codecs 16 to 19 are elements of 4 or 8 bytes, as in a typed array of RFC 8746 (tags 70, 71, 78, 79,
// 85 and 86). Each block has 1024 elements, the last one what is left; nothing follows it.
//
// A block whose first byte is 0xff is raw: the n elements follow. Otherwise a block of integers is
//
//	+-------+---------+-----------------------+--------+--------------------+-------+------------+
//	| order | width-1 | first values          | base   | packed             | count | exceptions |
//	+-------+---------+-----------------------+--------+--------------------+-------+------------+
//	 2 bits   6 bits    order signed varints    signed   (n-order)×width bits varint
//	                                            varint   rounded up to bytes
//
// Order 0 stands for the n values themselves. With order 1 the first value is there, then the differences between one
// value and the next; with order 2 the first value, the first difference, then the differences between differences. Order
// is at most n. What is packed, lowest bits first, are the low bits of
//
//	u = zigzag(value or difference - base)
//
// and an exception has those of its u that do not fit: a varint with how many u are between it and the exception before
// (or the start), and the varint u >> width. All arithmetic is modulo 2^64. Width is at least 1, so a column never
// stands for more than 64 times its size.
//
// A block of decimals is
//
//	exponent    one byte, 0 to 15
//	integers    a block of n integers, which is not raw
//	count       varint, exceptions
//	exceptions  varint with how many elements are between it and the one before, then the element as it is
//
// An integer i stands for float64(i) / 10^exponent, where both the conversion and the division round to nearest, ties to
// even; for a float32 that is rounded once more. Exceptions replace what stands at their place. So floats come back bit by
// bit, whatever they are: -0, NaNs with their payload, infinities and subnormals are exceptions, and a block with too many
// of them is raw.
//
// Which order, width, base and exponent is the encoder's choice; ours judges by a part of the block.
//
// # Measurements
//
// Blocks of 64 KiB, one processor of a shared virtual machine. Ratio is plain / encoded size; speed is the time S2
// takes to encode the log text (1.9 GB/s) divided by the time to encode / decode as many bytes, best of 8 to 12
// short runs each. From: go test -bench Codecs ./wire/compress
//
//	data                              column codec           s2                    zstd
//	log text                          -                      3.6 · 1.0 / 3.2       6.7 · 0.3 / 0.9
//	random bytes                      -                      1.0 · 11 / 38         1.0 · 13 / 34
//	timestamps in ns, 1 s ± 1 ms      3.0 · 1.2 / 1.1        1.0 · 11 / 38         1.0 · 14 / 35
//	counter, steps of 0 to 9          15.7 · 0.8 / 1.2       2.1 · 0.6 / 0.7       7.8 · 0.2 / 0.6
//	temperature walk, 0.01, float64   20.9 · 0.5 / 0.9       3.8 · 0.5 / 2.6       5.5 · 0.2 / 0.6
//	temperature walk, 0.01, float32   10.5 · 0.2 / 0.4       2.4 · 0.5 / 1.9       3.3 · 0.1 / 0.5
//	voltage, 0.001, noisy, float64    8.8 · 0.5 / 0.9        3.7 · 0.5 / 2.1       5.3 · 0.2 / 0.5
//	noise in all bits of a float64    raw · 0.7 / 1.7        1.0 · 11 / 38         1.0 · 14 / 33
//
// Log text of 4 MiB takes 1 % more in blocks of 128 KiB than as a whole with s2, and 8 % less with zstd.
//
// Choosing not to compress takes about 10 ns, below 1 KiB 2 ns, and reporting a sample 25 ns (go test -bench Chooser).
package compress
