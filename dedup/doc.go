// Package dedup keeps what two sides remember of each other's messages: repeated fields in slots, and differences.
//
// It is level 0, beside wire: it knows neither connections nor calls and starts no goroutines. This page specifies what
// it sends; the key words MUST and MAY are those of RFC 2119.
//
// # Usage
//
// There are two tools, which do not overlap. A table (an [Encoder] at the sender, a [Decoder] at the receiver) is for
// fields that repeat in messages of a connection, which arrive in any order. A [DeltaEncoder] and a [DeltaDecoder] are
// for the messages of one direction of one stream, which arrive in order and resemble each other. Both take a message
// that is encoded already, and where its fields end, and make a frame of it:
//
//	frame := encoder.Append(nil, message, fields)          // the sender
//	message, err := decoder.Decode(nil, frame, limit)      // the receiver
//
// A table also needs two ordered, reliable streams for notices, one each way; several tables MAY share them. After Append,
// Decode and Handle a side sends what its AppendNotices returns, in this order, and gives it to the Handle of the other
// side. [ParseHead] says which table a frame or a block is for. A message that fails with a [MissError] waits until
// Handle reports a change and is decoded again, or fails if the body is lost; how many messages and bytes wait, and for
// how long, is up to the caller (64 messages and 1 MiB for a connection are enough).
//
// # Concurrency
//
// An [Encoder], a [Decoder] and a [Budget] are safe for concurrent use. A [DeltaEncoder] and a [DeltaDecoder] belong to
// one stream, and to one goroutine at a time. Nothing blocks but for locks that are held for microseconds; budgets never
// wait for a table.
//
// # Ownership
//
// Arguments are borrowed until a function returns; results are copies, appended to a slice of the caller. What is
// remembered is copied. Whatever has a Close must be closed, or its budgets stay spent.
//
// # Limits
//
// Lengths are compared with a named limit, and with the bytes that are there, before anything is allocated. A table keeps
// at most Options.Bytes at the sender and twice that at the receiver, [MaxNeeds] questions, and Options.Slots notices
// that nobody has fetched. A base has at most DeltaOptions.MaxBaseBytes. All of it is charged to the budgets given, for
// instance those of the connection and direction, of the principal, and of the process. When one is spent, tables and
// bases that were not used since it last looked give back what they hold; if there are none, nothing new is remembered,
// and messages go as they are. A receiver that had to give back asks again, which costs a round trip; a sender that had
// to begins anew. Side by side with 10000 connections a table costs nothing until it is used.
//
// # Frames
//
// Integers are variable-length integers of RFC 9000, section 16, in their shortest form; anything else is refused. A
// length is one of them, in bytes. Everything begins with a form:
//
//	form
//	0  plain       message
//	1  pieces      scope, message length, checksum, pieces
//	2  base        message
//	3  delta       message length, checksum, operations
//	4  sender's    scope, notices
//	5  receiver's  scope, notices
//
// What they are made of ends where the frame ends. The checksum is the CRC-32C of the message, big-endian; a receiver MUST
// compare it before it uses anything of the message. The scope names the table among those of a connection and
// direction. A receiver MUST refuse a frame of another scope than that of the table it is given to.
//
// # Pieces
//
// A message in pieces is what its pieces make, at most [MaxPieces] of them, each of which begins with an integer whose
// lowest two bits are its kind:
//
//	length << 2 | 0, bytes                                             literal, not empty
//	slot << 2 | 1, generation                                          reference
//	slot << 2 | 2, generation, length, bytes                           insert
//	slot << 2 | 3, generation, length made, length, operations         difference
//
// Slots and generations count from 1. A name, a slot with a generation, stands for one body for good: the sender MUST NOT
// use it for another one, and the generations of a slot increase. An insert is the bytes, and names them. A reference is
// the bytes that were named; a difference is operations on them.
//
// # Tables
//
// The sender decides what is in which slot, and four rules keep the other side in agreement although messages arrive in
// any order, or never, and are not acknowledged:
//
//   - The sender refers to a body only once its insert has been acknowledged, or in the message that inserts it, after
//     the insert. It MAY insert a body again under the same name.
//   - An eviction says how many references and differences were ever sent, not counting those in messages that insert the
//     body themselves. The receiver keeps the body until it has seen as many or needs the room. The slot may be used
//     again at once, with the next generation.
//   - The receiver acknowledges what it keeps. It does not keep an insert whose generation is not above all that were
//     inserted into or evicted from the slot, unless it has that body or the memory of it still.
//   - The receiver asks for a body that it does not have; it never guesses.
//
// Besides, an encoder does not evict what was used in the last messages (eight for each slot, or two round trips, if that
// is more): that changes nothing for the receiver, but a table that changes faster than inserts are acknowledged is of
// no use. It inserts a body when it sees it for the second time, or at once when fields are said to be alike.
//
// Notices begin with their kind, one byte, and a name:
//
//	1  ack    receiver's  slot, generation                  the body is there
//	2  need   receiver's  slot, generation                  the body is not there
//	3  evict  sender's    slot, generation, references      the sender refers to it no more
//	4  fill   sender's    slot, generation, length, bytes   after a need: the body
//	5  gone   sender's    slot, generation                  after a need: the sender does not have it any more
//
// No more than [MaxNeeds] needs are unanswered at a time. Notices about what is not there (any more) are ignored.
//
// # Differences
//
// Operations make a message from a base: the previous message of the stream, if its form was base or delta, or a body.
// They are groups, one after another, until the message has its length:
//
//	length, bytes                       literal: append the bytes; skip as many of the base
//	length << 1 | moved, [distance]     copy: append so many bytes of the base, at least one
//
// The last group may lack the copy. If moved is 1, the place in the base is first moved by distance (zigzag: 0, -1, 1, -2
// are 0 to 3). A copy that does not lie in the base, or makes more than the length, is refused.
//
// # Security
//
// What is remembered shows in the length of messages. Therefore tables and bases are those of one connection, one
// direction and one scope, and a scope MUST be that of one authenticated principal: who can choose a part of the messages
// of a principal (as in CRIME and BREACH) must not learn what else is in them. A gateway gives each of its tenants a
// scope, or none; tables of different tenants are never shared, and the scope in each frame turns a mistake into an
// error. Fields that are Secret are never in a slot or a base, nor compared with anything. What remains visible is that
// something was repeated within the scope; who minds sends plain.
//
// A table is written by its sender only and read for messages of the same sender only: a peer can deceive only itself.
// Hashes find candidates and prove nothing: the sender compares all bytes, the receiver computes no hashes, and the seed
// of the hash is random, so that nobody can choose fields that collide. Checksums find mistakes, not attacks: QUIC
// protects the connection.
package dedup
