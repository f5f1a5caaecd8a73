// Package codecs encodes and decodes the same messages with Mycel's codec and with other libraries.
//
// # Usage
//
//	messages, err := codecs.Messages()
//	for _, m := range messages {
//		for _, c := range m.Codecs {
//			err = c.Encode() // once; and c.Decode()
//		}
//	}
//
// # What is compared
//
//	mycel         positional CBOR by a compiled plan, texts cut from one copy of the message
//	msgp          tinylib/msgp: MessagePack maps by generated code
//	msgpack-map   vmihailenco/msgpack: map[string]any, which is what hypha-rpc sends and hands to applications
//	cbor          fxamacker/cbor: CBOR maps from structs
//	protobuf      google.golang.org/protobuf with code generated from codecspb/codecs.proto
//
// Each library is used in its fastest documented way: encoders append to memory that is there, and decoders fill a fresh
// value, as a server must that hands it to a handler; only "mycel-reused" decodes into the memory of the value before. Integers are as short as the format allows; msgpack-map keeps
// them as int64 and uint64 on both sides, which that library encodes without reflection.
//
// The message "evolved" has two readers of Mycel's and no other library: "mycel" decodes what a newer writer sends,
// with fields reordered, dropped and unknown; "mycel-same" decodes what a writer of its own version sends.
//
// Only generating the code again needs protoc, the compiler of protocol buffers: go generate ./codecs.
//
// # Concurrency
//
// The codecs keep a buffer each: a [Codec] must not be used by two goroutines at once.
//
// # Ownership
//
// Nothing is handed out. A decoded value is dropped at once, and an encoded one overwritten by the next.
//
// # Limits
//
// The values are constant, so branch predictors and caches know them better than they would in a service, for all
// libraries alike.
package codecs
