package codec

import (
	"fmt"
	"reflect"
)

// TypeError says that a Go type cannot be a message.
type TypeError struct {
	Type   reflect.Type
	Field  string // path from the message, such as "Items[].Done"; "" is the message itself
	Reason string
}

func (e *TypeError) Error() string {
	return fmt.Sprintf("codec: %s%s: %s", e.Type, dotted(e.Field), e.Reason)
}

// describe returns the reason for the error as one of the message type root, which contains e.Type.
func (e *TypeError) describe(root reflect.Type) string {
	if e.Type == root {
		return e.Reason
	}
	return e.Type.String() + ": " + e.Reason
}

// DecodeError says that a message is malformed or does not fit its type.
type DecodeError struct {
	Type   reflect.Type
	Field  string // path from the message, such as "Items[].Price"; "" is the message itself
	Offset int    // in bytes from the start of the message
	Reason string
	Err    error // what a field's own unmarshaler or the generic decoder said, or nil
}

func (e *DecodeError) Error() string {
	s := fmt.Sprintf("codec: %s%s: byte %d: %s", e.Type, dotted(e.Field), e.Offset, e.Reason)
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap returns e.Err.
func (e *DecodeError) Unwrap() error { return e.Err }

// EncodeError says that a value cannot be encoded, although its type can.
type EncodeError struct {
	Type   reflect.Type
	Field  string // path from the message; "" is the message itself
	Reason string
	Err    error // what a field's own marshaler or the generic encoder said, or nil
}

func (e *EncodeError) Error() string {
	s := fmt.Sprintf("codec: %s%s: %s", e.Type, dotted(e.Field), e.Reason)
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap returns e.Err.
func (e *EncodeError) Unwrap() error { return e.Err }

// LimitError says that a message exceeds a limit. Limit is the name of the field of [Limits] that can be raised.
type LimitError struct {
	Type     reflect.Type
	Field    string // path from the message; "" is the message itself
	Limit    string
	Got, Max int
}

func (e *LimitError) Error() string {
	return fmt.Sprintf("codec: %s%s: %d exceeds codec.Limits.%s %d", e.Type, dotted(e.Field), e.Got, e.Limit, e.Max)
}

func dotted(path string) string {
	if path == "" || path[0] == '[' {
		return path
	}
	return "." + path
}

// joinPath puts name, "" for none, in front of the path of an inner field.
func joinPath(name, path string) string {
	if name == "" {
		return path
	}
	return name + dotted(path)
}
