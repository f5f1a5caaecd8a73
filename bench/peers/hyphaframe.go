package main

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/tinylib/msgp/msgp"
)

// The messages of hypha-rpc: two MessagePack maps back to back. The first routes ("main"), the second carries the
// arguments ("extra"). A call names a session; its answer calls the method "<session>.resolve" or "<session>.reject",
// and the messages of a stream call "<session>.next".

const (
	clientAddress = "bench-workspace/client-4k2nq8"
	serverAddress = "bench-workspace/server-x81hd0"

	servicePrefix = "services.bench."
	resolve       = ".resolve"
	reject        = ".reject"
	next          = ".next"
)

// frame is a parsed message. It aliases the bytes it was parsed from.
type frame struct {
	method  []byte
	session []byte // of the caller, who awaits an answer; empty in answers
	arg     []byte // the first argument, still encoded, and what follows it
}

var errFrame = errors.New("bench: malformed message")

// appendCall appends the call of a method with one argument. Errors are those of the argument's encoder.
func appendCall(dst []byte, method, session string, arg value) ([]byte, error) {
	dst = msgp.AppendMapHeader(dst, 5)
	dst = appendAddresses(dst, clientAddress, serverAddress)
	dst = msgp.AppendString(dst, "method")
	dst = appendJoined(dst, servicePrefix, method)
	dst = msgp.AppendString(dst, "session")
	dst = msgp.AppendString(dst, session)

	dst = msgp.AppendMapHeader(dst, 2)
	dst = msgp.AppendString(dst, "promise")
	dst = msgp.AppendString(dst, "*")
	return appendArg(dst, arg)
}

// appendAnswer appends a message to the session of a call: suffix is resolve, reject or next.
func appendAnswer(dst []byte, session []byte, suffix string, arg value) ([]byte, error) {
	dst = msgp.AppendMapHeader(dst, 5)
	dst = appendAddresses(dst, serverAddress, clientAddress)
	dst = msgp.AppendString(dst, "method")
	dst = appendJoined(dst, session, suffix)
	dst = msgp.AppendString(dst, "parent")
	dst = msgp.AppendStringFromBytes(dst, session)

	dst = msgp.AppendMapHeader(dst, 1)
	return appendArg(dst, arg)
}

func appendAddresses(dst []byte, from, to string) []byte {
	dst = msgp.AppendString(dst, "type")
	dst = msgp.AppendString(dst, "method")
	dst = msgp.AppendString(dst, "from")
	dst = msgp.AppendString(dst, from)
	dst = msgp.AppendString(dst, "to")
	return msgp.AppendString(dst, to)
}

// appendJoined appends a string of two parts, together shorter than 256 bytes, without concatenating them first.
func appendJoined[A, B string | []byte](dst []byte, a A, b B) []byte {
	const str8 = 0xd9
	dst = append(dst, str8, byte(len(a)+len(b)))
	dst = append(dst, a...)
	return append(dst, b...)
}

func appendArg(dst []byte, arg value) ([]byte, error) {
	dst = msgp.AppendString(dst, "args")
	dst = msgp.AppendArrayHeader(dst, 1)
	return arg.MarshalMsg(dst)
}

// parseFrame parses a message, which must be complete. The frame aliases b.
func parseFrame(b []byte) (frame, error) {
	var f frame
	rest, err := f.parseMap(b)
	if err == nil && len(rest) > 0 { // the second map may be absent
		rest, err = f.parseMap(rest)
	}
	if err != nil {
		return frame{}, fmt.Errorf("bench: parse message: %w", err)
	}
	if len(rest) > 0 || len(f.method) == 0 {
		return frame{}, errFrame
	}
	return f, nil
}

func (f *frame) parseMap(b []byte) (rest []byte, err error) {
	entries, b, err := msgp.ReadMapHeaderBytes(b)
	for ; entries > 0 && err == nil; entries-- {
		var key []byte
		if key, b, err = msgp.ReadMapKeyZC(b); err != nil {
			return nil, err
		}
		switch string(key) {
		case "method":
			f.method, b, err = msgp.ReadStringZC(b)
		case "session":
			f.session, b, err = msgp.ReadStringZC(b)
		case "args":
			value := b
			if b, err = msgp.Skip(b); err == nil {
				err = f.parseArgs(value[:len(value)-len(b)])
			}
		default:
			b, err = msgp.Skip(b)
		}
	}
	return b, err
}

func (f *frame) parseArgs(b []byte) error {
	n, rest, err := msgp.ReadArrayHeaderBytes(b)
	if err == nil && n > 0 {
		f.arg = rest
	}
	return err
}

// cutMethod splits the method of an answer into the session it is for and the name behind the dot, dot included.
func cutMethod(method []byte) (session []byte, suffix string) {
	at := bytes.LastIndexByte(method, '.')
	if at < 0 {
		return nil, ""
	}
	switch session := method[:at]; string(method[at:]) {
	case resolve:
		return session, resolve
	case next:
		return session, next
	case reject:
		return session, reject
	}
	return nil, ""
}

// none is the argument of answers without a value.
type none struct{}

func (none) Msgsize() int                           { return 1 }
func (none) MarshalMsg(b []byte) ([]byte, error)    { return msgp.AppendNil(b), nil }
func (*none) UnmarshalMsg(b []byte) ([]byte, error) { return msgp.ReadNilBytes(b) }

// failure is the argument of reject.
type failure string

func (f failure) Msgsize() int { return msgp.StringPrefixSize + len(f) }

func (f failure) MarshalMsg(b []byte) ([]byte, error) { return msgp.AppendString(b, string(f)), nil }
