package codecs

import (
	"fmt"

	"github.com/tinylib/msgp/msgp"
	"google.golang.org/protobuf/proto"

	"github.com/mycel-rpc/mycel/bench/peers/codecs/codecspb"
)

// Message is a value that several codecs encode and decode.
type Message struct {
	Name   string
	About  string // a few words
	Codecs []Codec
}

// Codec encodes and decodes the value of one [Message]. It is not safe for concurrent use.
type Codec struct {
	Name string

	message []byte // the value, encoded
	// encode returns the value, encoded; valid until the next call. It is nil if only decode is of interest.
	encode func() ([]byte, error)
	// decode returns the value, a pointer or a map, of the type that this codec works with. It borrows p.
	decode func(p []byte) (any, error)
}

// Names returns the names of all codecs in the order of the report.
func Names() []string {
	return []string{nameMycel, nameMycelReused, nameMycelSame, nameMsgp, nameMsgpackMap, nameCBOR, nameProtobuf}
}

const (
	nameMycel       = "mycel"
	nameMycelReused = "mycel-reused"
	nameMycelSame   = "mycel-same"
	nameMsgp        = "msgp"
	nameMsgpackMap  = "msgpack-map"
	nameCBOR        = "cbor"
	nameProtobuf    = "protobuf"
)

// EncodedBytes returns the size of the encoded value.
func (c *Codec) EncodedBytes() int { return len(c.message) }

// Encodes tells whether the codec has an Encode to compare, and not only a Decode.
func (c *Codec) Encodes() bool { return c.encode != nil }

// Encode encodes the value into memory that the codec keeps. There must be something to encode, see Encodes.
func (c *Codec) Encode() error {
	_, err := c.encode()
	return err
}

// Decode decodes the encoded value.
func (c *Codec) Decode() error {
	_, err := c.decode(c.message)
	return err
}

// Messages returns the messages with their codecs, of which Mycel's is the first. Each call returns new ones.
// It fails if a library cannot encode or decode a value.
func Messages() ([]Message, error) {
	call, envelope, samples := newCall(), newEnvelope(), newSamples()
	var failed error
	keep := func(cs []Codec, err error) []Codec {
		if failed == nil {
			failed = err
		}
		return cs
	}
	messages := []Message{
		{"call", "five fields", keep(all(call, protoOf(call)))},
		{"call-2k", "envelope, 16 records, 128 float64, a map", keep(all(envelope, protoOfEnvelope(envelope)))},
		{"float64x128", "one field", append(keep(all(samples, &codecspb.Samples{V: samples.V})), keep(reused(samples))...)},
		{"evolved", "from a newer writer of \"call\"", keep(evolved())},
	}
	return messages, failed
}

// all returns the codecs of all libraries for v, of which pb has the same content.
func all[T any, P interface {
	*T
	msgp.Marshaler
	msgp.Unmarshaler
}, M any, PM interface {
	*M
	proto.Message
}](v P, pb PM) ([]Codec, error) {
	var codecs []Codec
	for _, open := range []func() (Codec, error){
		func() (Codec, error) { return mycel[T](v) },
		func() (Codec, error) { return generatedMessagePack[T](v) },
		func() (Codec, error) { return messagePackMap(v) },
		func() (Codec, error) { return cborMap[T](v) },
		func() (Codec, error) { return protobuf[M](pb) },
	} {
		c, err := open()
		if err == nil {
			err = c.prepare()
		}
		if err != nil {
			return nil, fmt.Errorf("codecs: %T in %s: %w", v, c.Name, err)
		}
		codecs = append(codecs, c)
	}
	return codecs, nil
}

// prepare encodes the value, unless that was done, and decodes it once.
func (c *Codec) prepare() error {
	if c.message == nil {
		p, err := c.encode()
		if err != nil {
			return err
		}
		c.message = append([]byte(nil), p...) // p is overwritten by the next Encode
	}
	return c.Decode()
}
