package wire

// A Status says how a call ended. The zero value is success.
type Status struct {
	Code    Code
	Message string   // for people, at most [MaxMessageText] bytes; empty is allowed
	Details []Detail // at most [MaxDetails]
	// Unprocessed means that the call surely never reached a handler, so that trying it again is safe
	// whatever the method does.
	Unprocessed bool
}

// A Detail is a value that travels with a status: the name of its type and the value as self-describing CBOR
// (RFC 8949). Whoever does not know the name passes the detail on unchanged.
type Detail struct {
	Name string // at most [MaxMethodBytes] bytes
	Data []byte // at most [MaxDetailBytes]
}
