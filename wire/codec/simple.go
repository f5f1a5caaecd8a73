package codec

import (
	"encoding/binary"
	"math"
)

// Simple values and float heads (RFC 8949, section 3.3).
const (
	byteFalse   = 0xf4
	byteTrue    = 0xf5
	byteNull    = 0xf6
	byteFloat32 = 0xfa
	byteFloat64 = 0xfb
)

func appendBool(b []byte, v bool) []byte {
	if v {
		return append(b, byteTrue)
	}
	return append(b, byteFalse)
}

func appendFloat32(b []byte, v float32) []byte {
	return appendFloat32Bits(b, math.Float32bits(v))
}

func appendFloat32Bits(b []byte, v uint32) []byte {
	return binary.BigEndian.AppendUint32(append(b, byteFloat32), v)
}

func appendFloat64(b []byte, v float64) []byte {
	return appendFloat64Bits(b, math.Float64bits(v))
}

func appendFloat64Bits(b []byte, v uint64) []byte {
	return binary.BigEndian.AppendUint64(append(b, byteFloat64), v)
}
