package wire

import "encoding/binary"

// FrameType says what a frame is. The numbers are part of the protocol.
type FrameType uint8

const (
	FrameRequest  FrameType = 1 // caller: starts a call
	FrameResponse FrameType = 2 // callee: ends a call
	FrameHeaders  FrameType = 3 // callee: response metadata ahead of the first message
	FrameMessage  FrameType = 4 // both: one message of a streaming call
	FrameCancel   FrameType = 5 // caller: the answer is no longer wanted

	FrameHello   FrameType = 8 // both, first on the control stream
	FrameSchema  FrameType = 9 // answer to a schema sent inline: accepted or refused
	FrameCredit  FrameType = 10
	FramePing    FrameType = 11
	FramePong    FrameType = 12
	FrameGoAway  FrameType = 13
	FrameDrained FrameType = 14
	FrameNotices FrameType = 15 // of package dedup: about what one side remembers of the other's messages
)

// Flags of frames. All other flag bits are zero and refused otherwise.
const (
	FlagEnd    = 0x10 // request: the caller sends no further messages
	kindMask   = 0x60 // request: call kind
	FlagShared = 0x80 // request, response: the payload is elsewhere, see FrameHead.Shared
)

// CallKind is how many messages each side of a call sends.
type CallKind uint8

const (
	Unary        CallKind = iota // one request, one response
	ServerStream                 // one request, any number of responses
	ClientStream                 // any number of requests, one response
	Bidi                         // any number each way
)

// String returns "unary", "server stream", "client stream" or "bidi".
func (k CallKind) String() string {
	return [...]string{"unary", "server stream", "client stream", "bidi"}[k&3]
}

const (
	// MaxLaneFrameBytes is the largest payload of a frame on a lane, so that nothing waits long behind another.
	MaxLaneFrameBytes = 16 << 10
	// MaxWideFrameBytes is the largest payload of a frame on a wide lane; a larger one takes a stream of its own.
	MaxWideFrameBytes = 256 << 10
	// MaxHeaderBytes bounds the header of a frame: metadata, an inline schema, error details.
	MaxHeaderBytes = 256 << 10
	// MaxNoticesBytes is the largest payload of a notices frame.
	MaxNoticesBytes = 66 << 10
	// MaxFrameHeadBytes is the longest encoding of a frame head.
	MaxFrameHeadBytes = 1 + 8 + 8

	maxVarint = 1<<62 - 1
)

// FrameHead is the start of every frame: type and flags in one byte, then call and length as variable-length
// integers of RFC 9000, section 16.
type FrameHead struct {
	Type FrameType
	Kind CallKind // of the call; requests only
	End  bool     // requests only
	// Shared says that what follows is not the payload but a handle of it, in memory that both sides can read.
	// Requests and responses on lanes only.
	Shared bool
	Call   uint64 // number of the call on its lane; 0 on call streams and in control frames
	Len    int    // bytes of payload that follow the head
}

// AppendFrameHead appends the encoding of h to dst.
func AppendFrameHead(dst []byte, h FrameHead) []byte {
	b := byte(h.Type) | byte(h.Kind)<<5
	if h.End {
		b |= FlagEnd
	}
	if h.Shared {
		b |= FlagShared
	}
	return appendVarint(appendVarint(append(dst, b), h.Call), uint64(h.Len))
}

// ParseFrameHead parses the frame head at the start of b and returns it with the number of bytes consumed.
// Errors: [ErrTruncated] when b ends inside the head; *[FormatError] for an unknown type or flag; *[LimitError]
// when the payload is longer than maxLen bytes (knob names the setting behind that limit); h.Call is set then too.
func ParseFrameHead(b []byte, maxLen int, knob string) (h FrameHead, n int, err error) {
	if len(b) < 3 {
		return h, 0, ErrTruncated
	}
	h.Type = FrameType(b[0] & 0x0f)
	if flags := b[0] &^ 0x0f; flags != 0 {
		allowed := byte(0)
		switch h.Type {
		case FrameRequest:
			allowed = FlagEnd | kindMask | FlagShared
		case FrameResponse:
			allowed = FlagShared
		}
		if flags&^allowed != 0 {
			return h, 0, malformed("frame head", "has unknown flags")
		}
		h.Shared = flags&FlagShared != 0
		h.End = flags&FlagEnd != 0
		h.Kind = CallKind(flags & kindMask >> 5)
	}
	if h.Type == 0 || h.Type == 6 || h.Type == 7 {
		return h, 0, malformed("frame head", "has an unknown type")
	}
	call, n1 := parseVarint(b[1:])
	if n1 == 0 {
		return h, 0, ErrTruncated
	}
	length, n2 := parseVarint(b[1+n1:])
	if n2 == 0 {
		return h, 0, ErrTruncated
	}
	h.Call = call
	if length > uint64(maxLen) {
		return h, 0, &LimitError{What: "frame payload", Limit: uint64(maxLen), Got: length, Knob: knob}
	}
	h.Len = int(length)
	return h, 1 + n1 + n2, nil
}

// appendVarint appends v in the shortest form of RFC 9000, section 16. It panics above 2^62-1, which no
// counter of ours can reach.
func appendVarint(b []byte, v uint64) []byte {
	switch {
	case v < 1<<6:
		return append(b, byte(v))
	case v < 1<<14:
		return append(b, byte(v>>8)|0x40, byte(v))
	case v < 1<<30:
		return binary.BigEndian.AppendUint32(b, uint32(v)|0x80<<24)
	case v <= maxVarint:
		return binary.BigEndian.AppendUint64(b, v|0xc0<<56)
	}
	panic("wire: variable-length integer out of range")
}

// parseVarint returns the integer at the start of b and its length, 0 when b is too short.
func parseVarint(b []byte) (v uint64, n int) {
	if len(b) == 0 {
		return 0, 0
	}
	n = 1 << (b[0] >> 6)
	if len(b) < n {
		return 0, 0
	}
	v = uint64(b[0] & 0x3f)
	for _, x := range b[1:n] {
		v = v<<8 | uint64(x)
	}
	return v, n
}
