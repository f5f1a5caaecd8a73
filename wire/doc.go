// Package wire defines what Mycel peers say to each other: frames, envelopes, status codes and their bounds.
//
// It is level 0: it knows no sockets and starts no goroutines. Messages themselves are the business of
// the packages wire/schema (what a message looks like) and wire/codec (Go values to bytes and back).
// This page is the protocol specification; the key words MUST and MAY are those of RFC 2119.
//
// # Usage
//
// Append functions append to a slice that the caller owns and return it. Parse functions read from the start of a
// slice and return what they found and the number of bytes consumed, or check that the slice holds exactly one item.
//
// # Concurrency
//
// All functions are safe for concurrent use; a [Buffer] belongs to one goroutine at a time.
//
// # Ownership
//
// Arguments are borrowed until a function returns. Results of Parse functions say where they alias their input.
//
// # Limits
//
// Every length is compared with a named limit, and with the bytes that are there, before anything is allocated.
// Violations are *[LimitError] (with the limit, the size and the setting to change) or *[FormatError].
//
// # Connections
//
// A peer connects over QUIC (RFC 9000) with TLS 1.3 and the ALPN protocol name "mycel/1". The side that connects is
// the dialer, the other one the acceptor; afterwards both may make calls. A dialer has one or more main connections to
// an acceptor and, when it needs them, bulk connections for calls of class bulk, each on a socket of its own.
//
// The first byte of every stream, the preface, says what the stream is; cc is the class (0 rpc, 1 control,
// 2 stream, 3 bulk):
//
//	0x00         control stream: bidirectional, opened by the dialer, one for each connection
//	0x10 | cc    lane: bidirectional, opened by either side for its calls
//	0x20 | cc    call stream: bidirectional, opened by the caller, for one call
//	0x30 | cc    response stream: unidirectional, opened by the callee, for one response
//	0x40 | cc    wide lane: unidirectional, opened by either side for frames that are too large for a lane
//
// A side opens at most 20 lanes and wide lanes together. Any other preface closes the connection. The sender of a
// stream gives it the urgency (RFC 9218) of its class: control 0, stream 2, rpc 3, bulk 7, always incremental. The
// control stream and all lanes last as long as the connection; a peer that ends one of them has violated the protocol.
//
// # Frames
//
// What follows the preface is a sequence of frames. Integers in the frame head are variable-length integers of
// RFC 9000, section 16:
//
//	 0 1 2 3 4 5 6 7
//	+-+-+-+-+-+-+-+-+--------------+----------------+-------------------------+
//	|S|kind |E| type | call number | payload length |  payload                |
//	+-+-+-+-+-+-+-+-+--------------+----------------+-------------------------+
//	   flags    4 bits   1..8 bytes     1..8 bytes      length bytes
//
// The flags E (the caller sends no further messages) and kind (0 unary, 1 server stream, 2 client stream, 3 bidi) belong
// to request frames and are zero in all others. S, on requests and responses on lanes, says that the payload is in memory
// that both sides share and what follows is its handle (see Shared memory); limits of frames then count the handle. The call number is chosen by the caller, from 0 upwards, and
// never used twice on a connection; it is 0 on call streams and in control frames.
//
//	type  name      sent by  on                        payload
//	   1  request   caller   all lanes, control, call  request header, message body if there is one
//	   2  response  callee   all of these, response    response header, message body if there is one
//	   3  headers   callee   call stream               metadata
//	   4  message   both     call stream               schema reference, message body
//	   5  cancel    caller   all lanes, control        [code, text]
//	   8  hello     both     control, first            see Hello
//	   9  schema    both     control                   [number, refused 0/1, reason]
//	  10  credit    both     control                   [stream ID, limit]
//	  11  ping      both     control                   [nonce, load, 32 bytes of padding]
//	  12  pong      both     control                   as ping, with its nonce
//	  13  goaway    both     control                   [text, grace in milliseconds]
//	  14  drained   both     control                   []
//	  15  notices   both     control                   a block of package dedup, at most 66 KiB
//
// Payloads are CBOR (RFC 8949): definite lengths, heads in their shortest form, anything else is refused. An array may
// have up to 16 elements more than listed here, which a later version of the protocol appended and which are ignored; an
// absent element at the end of a header means zero or empty.
//
// # Calls
//
// A unary call whose request payload is at most 16 KiB MAY travel on a lane of its class; calls of class control do so
// on the control stream. One of at most 256 KiB MAY travel on the caller's wide lane. The callee answers on the lane that
// the request came on if the response has at most 16 KiB, otherwise on its own wide lane, up to 256 KiB, or on a response
// stream; so does it answer a request that came on a wide lane. A call is canceled on the lane that carried its request.
// Larger frames are refused on lanes. Any call MAY have a call stream of its own, streaming calls
// MUST: it begins with the request frame; messages of the caller follow until FIN; the callee sends at most one
// headers frame, then messages, then the response frame and FIN.
//
//	request header    [method, timeout, schema reference, metadata, principal]
//	response header   [code, schema reference, text, details, unprocessed 0/1, headers, trailers]
//
// Method is the position of the method in the callee's hello plus one, or its name as text. Timeout is what is
// left of the caller's deadline in microseconds, 0 for none. Metadata is an array of alternating keys
// (text) and values (byte strings); keys may repeat. Details is an array of alternating type names and values in
// self-describing CBOR. Principal is for whom the call is made, as the caller numbers them on the connection, 0 for the
// caller itself. Unprocessed promises that no handler has seen the call.
//
// A caller gives up a call on a lane with a cancel frame and drops the response that may still arrive; a call with a
// stream of its own by resetting both directions with the code 0x100 + status code. A callee that ends a call while
// messages still arrive sends the response and FIN, then stops reading, with the code 0x100 + status code if the call
// failed and 0 if not: it never resets what holds the status.
//
// # Hello
//
// Both sides send a hello as the first frame on the control stream. Neither waits for the other's: calls made before it
// has arrived name methods by text and carry their schemas inline.
//
//	[version, software, role, session, message limit, methods, schemas, same-host offer, [table slots, table bytes]]
//
// The same-host offer is a byte string, empty if there is none. The last element says what the sender of the hello keeps in
// a table of package dedup for each principal; 0 slots are no table. Both speak the lower version of the two. The role of the dialer's hello is 0 for a main and 1 for a bulk connection.
// Session is 16 bytes: the acceptor's is a fresh random name; a dialer repeats the name it got on its first connection,
// so that the acceptor knows which connections belong together, or sends zeros. Message limit is the largest message body
// that the sender of the hello accepts. An acceptor that sees no hello within its handshake timeout closes the connection.
//
// # Schemas
//
// A message body is a positional CBOR array described by a schema (package wire/schema), or a self-describing CBOR map.
// A schema reference stands before it:
//
//	0                        self-describing
//	2i+2                     entry i of the schema list in the receiver's hello
//	2n+1                     definition n of the sender, which the receiver has acknowledged
//	[2n+1, ID, description]  definition n, inline: at most 16 KiB, and ID the first 16 bytes of its SHA-256
//	[codec, reference]       one of these, for a body that is compressed (package wire/compress)
//
// Bit 6 of the codec says that the plain body is a frame of package dedup; the lower bits say how that is compressed, 0 if it
// is not. In a message frame it is a base, of at most 16 KiB, or the difference from the message before it in the same
// direction of the stream. In requests and responses it is a message in pieces; its scope is the principal of the call.
// Bodies of tables have at most 64 KiB. A callee that does not have what a request refers to answers it unprocessed with the
// code aborted, and the caller sends the whole message. A caller that does not have what a response refers to has lost it.
//
// A positional body may have lists in packed forms, which package wire/codec specifies: numbers, bools and times as a column
// of package wire/compress, structs as a table of columns, texts as a dictionary. Every receiver understands them. They count
// against its message limit with the size that they stand for.
//
// A sender repeats a definition inline until the receiver has answered with a schema frame, so that no stream ever waits
// for another. A receiver keeps up to 1024 definitions of 1 MiB together; one that it refuses is sent as self-describing
// CBOR from then on. The number is for one connection and direction, the ID is for good.
//
// In a self-describing map a struct is a map from the names of its fields. If fields have ids, its first entry has the
// empty text as key and a map from their names to their ids as value; receivers match fields by id, else by name, in both
// kinds of body. A field of kind extra holds what its sender has received and does not know: in a positional array one
// array with name, id (0 for none) and self-describing value of each, in a self-describing map entries as any other.
//
// # Bulk
//
// On call and response streams of class bulk a side sends no more than the receiver has granted: 32 KiB, counted from
// the preface, and then up to the limit of the last credit frame for the stream. The receiver grants little more than
// what the path holds, shared among the streams, so that queues stay short and unread data of one stream stalls no other.
//
// # Shared memory
//
// Peers on one host may share memory; how they find that out, and what a handle is, is specified in package
// largeobj/internal/shm. The acceptor's hello carries the offer. In place of a payload goes the length of its header, 4
// bytes little-endian, and the handle of header and message body. A side sends handles only once the other one has mapped
// the memory they name; a receiver copies the header before it looks at it, and gives the memory back when it has decoded
// the body. A handle of memory that is not shared is a violation.
//
// # Leaving
//
// A side that wants to leave sends goaway. Calls that reach it later may be answered with Unavailable and unprocessed. The
// peer starts no more calls on the connection and, once it has the results of all its calls, sends drained. Only when
// both have no calls left does the side that left close the connection: closing drops what is unsent or unread.
//
// # Codes
//
// Status codes are the sixteen of gRPC ([Code]). Streams are reset with 0 (not needed), 1 (protocol violation), 2 (too
// large) or 0x100 + status code; connections are closed with the codes that begin with Close and a reason in words.
package wire
