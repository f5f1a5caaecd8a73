// Package largeobj passes data too large for a message: in place on one host, as verified streams between hosts.
//
// It is level 2, beside pool: it uses connections, and knows no calls. Package framework encodes its references in messages
// and makes the calls that it needs.
//
// # Usage
//
// A [Ref] is an ordinary field of a request, response or stream message. Whoever has data makes an object of it:
//
//	obj, err := largeobj.Create(ctx, size)       // memory that peers on this host can read
//	fill(obj.Bytes())
//	reply, err := Segment.Call(ctx, client, &Request{Image: obj.Freeze()})
//	obj.Release()
//
// and whoever receives the reference opens it:
//
//	v, err := q.Image.Open(ctx)                  // waits for the bytes if they come over the network
//	pixels := largeobj.As[float32](v.Bytes())    // in place, without copying
//
// [FromBytes], [FromFile], [FromReader] and [Dir.Ref] make objects of what is there already; [Ref.Download] stores one in a
// file, [Ref.Reader] reads a part as it arrives. A received Ref may be sent back or passed on to a third peer: its bytes move when it is opened, not before.
//
// # Lifetime
//
// Objects are counted, not collected. A handler need do nothing: what it received, and what it made with its context, ends
// with the call, unless Keep was called; what it made and sent lives on for the receiver. Everywhere else, [Object], [Ref] and
// [View] are released by hand; releasing the view of a received object releases the Ref. One that is forgotten is released
// when the garbage collector finds it, which counts as leaked in [Stats]: late, because the collector does not see how much
// memory hangs on it.
//
// What a peer was sent is held until it gives it back or its connection ends, and [Config].ResumeWindow longer if it may come
// back for it.
//
// # Ownership
//
// The bytes of a view are valid until its Release, and as long as the View is reachable: defer the Release. On the same host
// they are memory of the sender, mapped read-only. A sender of the same user could still change them ([Trust]); those of
// [Store.CreateSealed] nobody can. An object's own bytes must not change after [Object.Freeze], nor what was given to FromBytes.
//
// # Concurrency
//
// A [Store], a [Dir], a [Ref] and a [View] are safe for concurrent use; an [Object] while it is written as far as its bytes
// are. Callbacks are named where they are taken.
//
// # On one host
//
// When a connection is made, the server offers a unix socket, and the client proves there that it is the other end of the
// very QUIC connection, as the same user, under the same kernel; package internal/shm has the protocol. From then on each
// side maps the memory in which the other one makes objects, and a reference carries a handle of 32 bytes. Ordinary requests and
// responses from 4 KiB on take the same way without being asked to (package streams). Whenever a step fails, everything
// travels as streams; the log says so once, and [Stats] has Links and counts. Where memory cannot be shared this way, other
// systems than Linux, the package works the same without.
//
// # Between hosts
//
// The receiver asks for ranges, over calls of class bulk that yield to all others; package internal/transfer has the rules. Every
// 4 MiB are verified by BLAKE3 off the path of the packets. After a lost connection only what is missing is fetched. The number
// of streams follows the goodput. What exceeds the budget of memory goes to unlinked temporary files.
//
// # Limits
//
// All are in [Config], and an error that one causes names it: bytes of an object, of shared memory, of memory for what is
// fetched, objects that the peer of one connection holds. A reference takes at most 76 bytes in a message.
//
// # On the wire
//
// A Ref is a byte string, empty for the zero Ref:
//
//	flags and version   1 byte    low 4 bits: 1; 0x10: there is a handle
//	ID                  16 bytes  of the content
//	key                 16 bytes  random: who knows it may fetch the object
//	size + 1            varint    0 while it is not known
//	leaf size           1 byte    its logarithm to base 2
//	handle              32 bytes  of shared memory
//
// The methods mycel.v1/FetchObject and mycel.v1/ReleaseObjects are served by both sides. A reference without a handle counts
// at the sender until it has been named in a release; one with a handle until the memory says so.
package largeobj
