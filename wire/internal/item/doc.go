// Package item appends and parses CBOR data items, RFC 8949.
//
// It holds what envelopes, schemas and messages share: the heads, and the items that are a head and a content as it is.
// What may stand where, and whether other forms than the shortest are accepted, is the business of those who use it.
//
// # Usage
//
//	b = item.AppendHead(b, item.Array, 2)
//	b = item.AppendText(b, "count")
//	b = item.AppendInt(b, -1)
//
//	h, size, err := item.ParseHead(b)         // h.Major is item.Array, h.N is 2
//	h, size, err = item.ParseHead(b[size:])   // h.Major is item.Text, h.N is 5: as many bytes follow
//
// # Concurrency
//
// All functions are safe for concurrent use.
//
// # Ownership
//
// Append functions append to a slice that the caller owns and return it; arguments are borrowed until a function returns.
// A [Head] is a copy.
//
// # Limits
//
// A head takes at most 9 bytes. [ParseHead] does not look at what follows: its caller compares the number in a head with
// a limit and with the bytes that are there.
package item
