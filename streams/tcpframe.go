package streams

import (
	"github.com/quic-go/quic-go/quicvarint"

	"github.com/mycel-rpc/mycel/wire"
)

// Types of frames between the ends of a TCP connection; the package documentation specifies them.
const (
	tcpData       = 0x00
	tcpDataFIN    = 0x01
	tcpReset      = 0x02
	tcpStop       = 0x03
	tcpMaxData    = 0x04
	tcpMaxStreams = 0x05 // bidirectional
	tcpMaxUni     = 0x06
	tcpPing       = 0x07
	tcpPong       = 0x08
	tcpClose      = 0x09
)

const (
	// maxTCPData is the largest content of a frame of data, so that none holds up a more urgent one for long. With its
	// head it fills one TLS record (RFC 8446, section 5.1).
	maxTCPData     = 16<<10 - maxTCPDataHead
	maxTCPDataHead = 1 + 8 + 4
	// maxTCPText is the longest text that a frame of type close carries.
	maxTCPText = 512
	// maxTCPHead is the longest frame, content of data aside.
	maxTCPHead = 1 + 8 + 2 + maxTCPText
)

// A tcpFrame is one frame. Which fields count depends on the type.
type tcpFrame struct {
	typ    byte
	stream uint64
	value  uint64 // code, limit or nonce
	len    int    // bytes of content, which follow the head of data
	text   []byte // of a close frame; aliases what was parsed
}

// appendTCPFrame appends the encoding of f to dst: of data the head, which the content has to follow.
func appendTCPFrame(dst []byte, f tcpFrame) []byte {
	dst = append(dst, f.typ)
	switch f.typ {
	case tcpData, tcpDataFIN:
		return quicvarint.Append(quicvarint.Append(dst, f.stream), uint64(f.len))
	case tcpReset, tcpStop, tcpMaxData:
		return quicvarint.Append(quicvarint.Append(dst, f.stream), f.value)
	case tcpClose:
		return append(quicvarint.Append(quicvarint.Append(dst, f.value), uint64(len(f.text))), f.text...)
	}
	return quicvarint.Append(dst, f.value)
}

// parseTCPFrame parses the frame at the start of b, of data only the head, and returns it with the number of bytes consumed.
// Errors: [wire.ErrTruncated] when b ends inside of it; a *[ConnError], which closes the connection, for a frame that no peer
// may send.
func parseTCPFrame(b []byte) (f tcpFrame, n int, err error) {
	if len(b) == 0 {
		return f, 0, wire.ErrTruncated
	}
	f.typ, n = b[0], 1
	next := func() (v uint64) {
		if err != nil {
			return 0
		}
		v, m, short := quicvarint.Parse(b[n:])
		if short != nil {
			err = wire.ErrTruncated
		}
		n += m
		return v
	}
	switch f.typ {
	case tcpData, tcpDataFIN:
		f.stream = next()
		length := next()
		switch {
		case err != nil:
		case length > maxTCPData:
			err = violation(wire.CloseLimit, "frame of %d bytes of data, the limit is %d", length, maxTCPData)
		case length == 0 && f.typ == tcpData:
			err = violation(wire.CloseProtocol, "frame of data that carries nothing")
		}
		f.len = int(min(length, maxTCPData))
	case tcpReset, tcpStop, tcpMaxData:
		f.stream = next()
		f.value = next()
	case tcpMaxStreams, tcpMaxUni, tcpPing, tcpPong:
		f.value = next()
	case tcpClose:
		f.value = next()
		length := next()
		switch {
		case err != nil:
		case length > maxTCPText:
			err = violation(wire.CloseLimit, "close frame with a text of %d bytes, the limit is %d", length, maxTCPText)
		case uint64(len(b)-n) < length:
			err = wire.ErrTruncated
		default:
			f.text = b[n : n+int(length)]
			n += int(length)
		}
	default:
		err = violation(wire.CloseProtocol, "frame of the unknown type %#x", f.typ)
	}
	if err != nil {
		return f, 0, err
	}
	return f, n, nil
}
