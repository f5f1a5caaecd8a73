// Package codec turns Go values into CBOR and back by plans that are compiled once per type.
//
// # Usage
//
//	c, err := codec.Of[Order]()               // once; shared by all goroutines
//	b, err := c.Append(buf[:0], &order)       // positional: no field names on the wire
//	err = c.Decode(b, &got, codec.Limits{})   // from a writer with the same schema
//	r, err := c.Reader(writerSchema)          // from any writer: resolved once, then as fast
//	err = r.Decode(b, &got, codec.Limits{})
//
// There are two forms of a message. In the positional form a struct is a CBOR array of its fields in their order; to
// read it one needs the writer's [schema.Schema]. In the generic form (AppendGeneric, DecodeGeneric) a struct is a map
// from field names, which are matched letter by letter, and any CBOR library reads it. Types that have no positional form return nil from Schema: those
// with an embedded pointer to a struct, a pointer to a pointer or to any, map keys that are floats or structs, a list
// that contains itself without a struct in between, or a description larger than [schema.DefaultLimits].
//
// # Types
//
//	Go                                    schema      positional form
//	bool                                  bool        simple value
//	int8 … int64, int, time.Duration      int8 …      integer, shortest head; int counts as int64
//	uint8 … uint64, uint                  uint8 …     integer, shortest head; uint counts as uint64
//	float32, float64                      float…      float of that width, bit by bit: NaNs and -0 survive
//	string                                text        text; must be UTF-8, which the decoder checks
//	[]byte                                bytes       bytes
//	[]T, [n]T                             list, array array; numbers from 8 on: typed array of RFC 8746, little-endian
//	[n]byte                               array       bytes
//	map[K]V                               map         map, in no order; K is a bool, integer, string or [n]byte
//	struct                                struct      array of the exported fields
//	*T                                    optional    null or T
//	Extra                                 extra       array of name, id and item in the generic form, for each field
//	time.Time                             time        [seconds] or [seconds, nanoseconds] since 1970 UTC
//	any                                   any         an item in the generic form
//	type with MarshalCBOR, UnmarshalCBOR  any         that item
//	… MarshalBinary, UnmarshalBinary      bytes       bytes; goes before the next line if a type has both
//	… MarshalText, UnmarshalText          text        text
//	… AppendLinked, DecodeLinked          bytes       bytes; see [Codec.AppendLinked]
//
// Channels, functions, complex numbers, uintptr, unsafe pointers and interfaces with methods make [For] fail with a
// [*TypeError]. nil and empty lists, maps and bytes are the same on the wire; they decode as nil. A time decodes in
// UTC; its zone and monotonic reading are not sent. Within any, maps decode as map[string]any, integers as int64 if
// they fit, and a zero time as nil. A pointer cycle is an [*EncodeError].
//
// Fields of embedded structs are promoted as encoding/json does. Unexported fields are neither sent nor touched.
//
// # Tags
//
// Fields are named and controlled by a `cbor` tag; without one the name in the `json` tag counts, and that tag's "-":
//
//	cbor:"-"                not sent
//	cbor:"name"             name instead of the Go name
//	cbor:",omitempty"       generic form only: positions cannot be left out
//	cbor:",id=7"            identity that survives a renaming
//	cbor:",default=1s"      taken when the writer does not send the field; bools, numbers, durations, strings; no comma
//	cbor:",required"        a writer that does not send the field is a mismatch; generic form: a [*DecodeError], and
//	                        omitempty is not allowed beside it
//	cbor:",copy"            texts below get memory of their own, see Ownership
//	cbor:",secret"          messages with the field must not be compressed: see [Codec.Secret]
//	cbor:",nodedup"         the field is never remembered nor sent as a difference: see [Span]
//	cbor:",plain"           numbers below are never a typed array: shorter when they are small
//
// Both hold for what is below the field, and for the fields of an embedded struct; [Codec.AppendWith] says where in a message
// such fields are.
//
// In the generic form a struct with ids has one entry more, the first one, with the empty text as its key: a map from the
// names of those fields to their ids. Readers that do not know it pass over it. Within any, tags count for their names only.
//
// # Evolution
//
// Writer and reader may have different versions of a type. The rules stand in the documentation of package schema; in
// short, for a field F:
//
//	reorder, add, remove, rename with id                      free
//	int8 → int64, uint8 → uint64, float32 → float64, T → *T   accepted
//	anything else                                             [*schema.MismatchError] from Reader
//
// Fields the writer does not send become their default, or zero. Unknown ones are skipped, within the limits, unless the
// struct that they belong to has a field of type [Extra]. That keeps them, in the generic form and with their ids, and
// sends them again. The next reader finds them there by the same rules, whatever the forms on the way; so a relay with an
// older version of a type loses nothing. Some things are different for fields that come this way:
//
//   - whether one is there, and of a type that fits, is known only when the message comes: a [*DecodeError], also for a
//     required field;
//   - they must fit the limits of the relay, and the numbers of typed arrays count as elements;
//   - a time needs a year from 0 to 9999, as in any;
//   - in the generic form, where they stand among the other fields, none may have the name of another field.
//
// Structs in lists, maps and fields need an Extra of their own. A type with an Extra has another schema than without.
//
// # What is accepted
//
// Decoding is total: any bytes give a value or an error. Items of indefinite length are refused in the positional form,
// as are trailing bytes, a map with one key twice, and integers that overflow their Go type. Heads longer than needed
// and both ways to write numbers are accepted.
//
// # Concurrency
//
// A [Codec] and a [Reader] are immutable and safe for concurrent use.
//
// # Ownership
//
// Append borrows the value and Decode borrows the message until they return. What is decoded never aliases the message;
// UnmarshalCBOR, UnmarshalBinary and UnmarshalText get a part of it and copy what they keep, as their contracts say.
// The texts of a message of up to 64 KiB are cut from one copy of it, which lives as long as one of them: tag a text
// that outlives its message by far with copy. Lists of numbers and bytes reuse the memory they have in the value that is
// decoded into; everything else is new.
//
// # Limits
//
// Every length is compared with the bytes that are left before anything is allocated. A list of n structs with k fields
// takes at least n×(k+1) bytes of message, and all lists, maps and pointers together are bounded by [Limits]:
// MaxElements counts them, MaxMemoryBytes weighs them, MaxDepth bounds their nesting. The errors are [*DecodeError] and
// [*LimitError], which name the field.
package codec
