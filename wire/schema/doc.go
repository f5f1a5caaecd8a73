// Package schema describes message types, identifies descriptions, and decides which reader can read which writer.
//
// # Usage
//
// Package codec makes the [Schema] of a Go type; few programs call [New]. A peer sends [Schema.Canonical], the other
// side reads it with [Parse], and [Resolve] finds out, once for the two schemas, how the reader's type is filled from
// what the writer sends. [Schema.String] shows a schema to people.
//
// # Canonical form
//
// The canonical bytes are CBOR in its deterministic form (RFC 8949, section 4.2.1):
//
//	schema = [1, name, [field …]]          a struct, which most messages are
//	       | [1, type]                     any other type
//	field  = [name, type, flags, id?, default?]
//	type   = number                        bool 1, int8 … int64 2–5, uint8 … uint64 6–9, float32 10, float64 11,
//	                                       text 12, bytes 13, time 14, any 15, extra 16
//	       | [32, type]                    list
//	       | [33, length, type]            array
//	       | [34, key type, type]          map
//	       | [35, type]                    optional
//	       | [36, name, [field …]]         struct, the first time
//	       | [37, index]                   struct met before: structs are numbered from 0, the outermost first
//
// The flags of a field are 1 required, 2 id follows, 4 default follows; the default is its text in the field tag. The
// form holds no package paths and no documentation. The [ID] is a cut SHA-256 of the bytes, so it covers the bare names
// of types, too; compatibility does not look at them. Two builds that differ only in names of types and in defaults have
// different IDs, and [Resolution.SameLayout] says that nothing needs to be converted between them.
//
// # Validity
//
// Names are UTF-8; names and ids are unique within a struct; a field is of kind extra, without flags, if and only if its
// name is empty, and nothing but a field is of that kind; an optional does not hold an optional or any, whose null would
// be its own; map keys are bools, integers, text, bytes or arrays of uint8; an array has fewer than 2^31 elements. [Parse]
// accepts only bytes that [Schema.Canonical] returns.
//
// # Evolution
//
// What a writer sends is read by these rules, in every struct of the message, at any depth:
//
//	reorder fields                            free: fields are matched by id, else by name
//	rename a field                            free if both sides give it the same id
//	add a field                               the reader has it: its default; the writer has it: skipped
//	remove a field                            skipped; refused if the reader requires it
//	wider integer of the same signedness      accepted
//	float32 to float64                        accepted
//	T to optional T                           accepted
//	rename a type                             free
//	narrower number, float to or from int     refused
//	signed to or from unsigned                refused
//	text to or from bytes                     refused
//	optional T to T                           refused
//	list to or from single, struct to map     refused
//	array of another length, array to list    refused
//	array of uint8 to wider integers          refused: it is sent as bytes
//
// Refusal is a [*MismatchError] from [Resolve], before any message is read, and not an overflow in some message. Two
// fields with different ids are different fields, whatever their names.
//
// A field of kind extra holds fields that its sender has received from a newer side and passes on: each with its name, its
// id and a self-describing value. A reader takes from it the fields that the sender's schema lacks, by the same rules of
// ids and names. So whether they are there and of which type is known only when a message comes: a field that the reader
// requires is no mismatch then, but missing in the message.
//
// # Concurrency
//
// Schemas and resolutions are immutable and safe for concurrent use.
//
// # Ownership
//
// Parse borrows its argument until it returns. What methods return belongs to the schema and must not be modified.
//
// # Limits
//
// [Limits] bounds bytes and nesting of a description; time and memory of Parse are proportional to the bytes. A
// resolution looks at each pair of structs at most once.
package schema
