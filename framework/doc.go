// Package framework is typed calls over QUIC: declare a method once in plain Go, serve it, call it.
//
// # Usage
//
// A method is a package variable that both sides share; its message types are plain structs, without an interface
// description language or generated code:
//
//	var Hello = framework.NewUnary[HelloReq, HelloResp]("greeter.v1/Hello", framework.Idempotent())
//
// The serving side registers a handler with Hello.Handle, the calling side uses Hello.Call. There are four kinds:
// [NewUnary], [NewServerStream], [NewClientStream] and [NewBidi]. A [Server] listens on a UDP address; a [Client] has a
// target and dials when it is first used. Calls go both ways: a handler calls methods that its client serves through
// [PeerFrom]. [InProcess] connects a client to a server without a network.
//
// Read next: method.go (declarations), clientcall.go (one call on the caller's side), servercall.go (the same call on
// the other side), gate.go (which handlers run when), errors.go (what crosses the wire).
//
// # Concurrency
//
// Servers, clients, peers and methods are safe for concurrent use. Of a streaming call one goroutine may send while
// another receives. Handlers run concurrently, in goroutines of their own unless they are declared [Inline].
//
// # Ownership
//
// Requests are borrowed until a call returns; what is received is the receiver's to keep. Interceptors see messages
// only through the [Stream] they wrap.
//
// # Limits
//
// A message has at most MaxMessageBytes (4 MiB), metadata 64 KiB, an error text 8 KiB. [Gates] bound the handlers that run
// and wait, [ConnLimits] what one connection may hold. A limit that is exceeded is an error that names it, the size and the
// setting.
//
// # How a call travels
//
// Unary calls share long-lived streams (lanes) of their class; what several goroutines send at the same moment
// leaves in one write. A request runs in a goroutine behind the gate of its class, and the response takes the same way
// back. Streaming calls and large messages have streams of their own, and class bulk a connection and socket of its own,
// so that neither makes small calls wait. Package streams has the details and the measurements, wire the protocol.
//
// Between processes of one host, requests and responses from 4 KiB on go through memory that both share, and a field of type
// largeobj.Ref passes data of any size; see package largeobj. Over a network, messages are made
// shorter where that has been measured to pay ([CompressAdaptive]): lists are packed, bodies compressed, what repeats in unary
// calls is sent as a reference and what changes in streams as a difference. Each method and direction learns from its own
// messages; [Messages] shows and changes what it does. Package content, below this one, has the rules.
package framework
