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
// # Packed forms
//
// A list of 16 elements or more often has less in it than its elements suggest: measurements in steps of 0.01, a few names
// of devices. In the positional form, and nowhere else, a writer MAY send it in one of three other forms. A reader MUST
// accept them wherever the schema has such a list, whatever it does with it; who knows no schema sees well-formed CBOR.
// Their tags are from the range that RFC 8949 gives to whoever comes first, and not registered.
//
//	58221(bytes)                      packed: a byte with a codec of package compress, then what it makes of the elements
//	58222([count, column …])          table of count structs, at least one
//	58223([[text …], 58221(bytes)])   dictionary: texts, and which of them each element is, counted from 0, as uint32
//
// The codec of a packed list depends on what it is a list, or array, of:
//
//	bool, int8 to int32, uint8 to uint32   delta32   a bool as 0 or 1
//	int64, uint64, time                    delta64   a time as nanoseconds since 1970 UTC
//	float32, float64                       decimal32, decimal64
//
// A list of structs may be a table if each of their fields is one of these, a text, bytes, an array of uint8, or a struct of
// such fields, at most four deep and none without fields; and if that makes 1 to 128 columns, one for each field that is no
// struct, in their order. A column is what a list of the values of its field would be, in any form, and has count elements. A list of
// texts, or such a column, may be a dictionary.
//
// What a packed list stands for counts against MaxMessageBytes: the plain size that is in its column, and the texts that a
// dictionary makes. A table has at most eight structs for each byte that follows its count.
//
// # Packing
//
//	packer := c.NewPacker()                 // one for the messages of a method in one direction
//	b, err := c.AppendWith(buf[:0], &v, codec.AppendOptions{Packer: packer, Path: path})
//
// A [Packer] finds out for each such field what packing saves and what it costs, and packs where that is cheaper than to
// send what is saved, as package compress does for whole messages. It measures the first three lists of a field and then one
// in 64 on average, fewer where it does not pay, down to one in 4096. Fields tagged secret or plain are never packed, nor are lists of less than
// 128 bytes. Packed numbers and texts are never larger than they were; within a table they are compared with a typed array.
//
// Measured with 100 measurements in four columns (a timestamp 1 s ± 1 ms after the one before, a walk in steps of 0.01, noise
// in steps of 0.001, noise in all bits of the mantissa) and with rows (timestamp, walk, name of one of four devices, its number,
// a flag): bytes, also in percent of those of the generic form, which is a map for each row, and microseconds of one
// processor of a busy virtual machine to encode and to decode. From: go test -bench Packed ./wire/codec
//
//	                     plain                            packed
//	100 in columns        3221 B   89 %   0.1 / 0.3 µs     1259 B   35 %   5.5 / 1.8 µs
//	1024 in columns      32789 B   89 %   0.8 / 2.4 µs    12348 B   33 %    20 / 11 µs
//	100 rows              4711 B   68 %   3.9 / 9.3 µs      604 B    9 %   9.5 / 4.5 µs
//	1024 rows            48140 B   68 %    40 / 62 µs      4291 B    6 %    61 / 27 µs
//
// So the columns pay on paths that are slower than 280 and 650 MB/s, and two thirds of what is left of them is the noise;
// the rows pay everywhere. A list that is not packed because that does not pay costs about 15 ns more than without a Packer.
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
//	cbor:",secret"          the field must not be compressed, nor packed: see [Codec.Secret]
//	cbor:",nodedup"         the field is never remembered nor sent as a difference: see [Span]
//	cbor:",plain"           numbers below are never a typed array, nor packed: shorter when they are small
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
// and all ways to write a list are accepted.
//
// # Concurrency
//
// A [Codec] and a [Reader] are immutable and safe for concurrent use. A [Packer] learns, and is safe for concurrent use, too.
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
// MaxElements counts them, MaxMemoryBytes weighs them, MaxDepth bounds their nesting. Lists that are packed take memory that
// is not in the message: they count for MaxMemoryBytes and for MaxMessageBytes. The errors are [*DecodeError] and
// [*LimitError], which name the field.
package codec
