package codecs

import (
	"bytes"

	"github.com/fxamacker/cbor/v2"
	"github.com/tinylib/msgp/msgp"
	"github.com/vmihailenco/msgpack/v5"
	"google.golang.org/protobuf/proto"

	"github.com/mycel-rpc/mycel/bench/peers/codecs/codecspb"
	"github.com/mycel-rpc/mycel/wire/codec"
)

func mycel[T any](v *T) (Codec, error) {
	c, err := codec.Of[T]()
	var buf []byte
	return Codec{
		Name:   nameMycel,
		encode: func() (_ []byte, err error) { buf, err = c.Append(buf[:0], v); return buf, err },
		decode: func(p []byte) (any, error) { got := new(T); return got, c.Decode(p, got, codec.Limits{}) },
	}, err
}

// reused returns a codec that decodes into the same value again and again.
func reused[T any](v *T) ([]Codec, error) {
	c, err := codec.Of[T]()
	if err != nil {
		return nil, err
	}
	message, err := c.Append(nil, v)
	if err != nil {
		return nil, err
	}
	got := new(T)
	return []Codec{{
		Name:    nameMycelReused,
		message: message,
		decode:  func(p []byte) (any, error) { return got, c.Decode(p, got, codec.Limits{}) },
	}}, nil
}

// evolved returns two readers of [Call]: one of what a newer writer sends, and one of what a writer of today sends.
func evolved() ([]Codec, error) {
	same, err := mycel(newCall())
	if err != nil {
		return nil, err
	}
	newer, err := codec.Of[newerCall]()
	if err != nil {
		return nil, err
	}
	today, err := codec.Of[Call]()
	if err != nil {
		return nil, err
	}
	reader, err := today.Reader(newer.Schema())
	if err != nil {
		return nil, err
	}
	message, err := newer.Append(nil, newNewerCall())
	if err != nil {
		return nil, err
	}
	mapped := Codec{
		Name:    nameMycel,
		message: message,
		decode:  func(p []byte) (any, error) { got := new(Call); return got, reader.Decode(p, got, codec.Limits{}) },
	}
	if err := same.prepare(); err != nil {
		return nil, err
	}
	same.Name, same.encode = nameMycelSame, nil // a writer encodes its own version: there is nothing to compare
	return []Codec{mapped, same}, mapped.prepare()
}

func generatedMessagePack[T any, P interface {
	*T
	msgp.Marshaler
	msgp.Unmarshaler
}](v P) (Codec, error) {
	var buf []byte
	return Codec{
		Name:   nameMsgp,
		encode: func() (_ []byte, err error) { buf, err = v.MarshalMsg(buf[:0]); return buf, err },
		decode: func(p []byte) (any, error) {
			got := P(new(T))
			_, err := got.UnmarshalMsg(p)
			return got, err
		},
	}, nil
}

// messagePackMap encodes v as an application of hypha-rpc holds it, in nested maps with string keys, and decodes such
// maps.
func messagePackMap(v any) (Codec, error) {
	var reader bytes.Reader
	dec := msgpack.NewDecoder(&reader)
	dec.UseLooseInterfaceDecoding(true) // int64 or uint64, however short the integer is in the message
	decode := func(p []byte) (map[string]any, error) {
		reader.Reset(p)
		return dec.DecodeMap()
	}
	var buf bytes.Buffer
	enc := msgpack.NewEncoder(&buf)
	enc.UseCompactInts(true)
	c := Codec{Name: nameMsgpackMap, decode: func(p []byte) (any, error) { return decode(p) }}
	p, err := msgpack.Marshal(v)
	if err != nil {
		return c, err
	}
	m, err := decode(p)
	c.encode = func() ([]byte, error) {
		buf.Reset()
		err := enc.EncodeMap(m)
		return buf.Bytes(), err
	}
	return c, err
}

func cborMap[T any](v *T) (Codec, error) {
	mode, err := cbor.EncOptions{}.UserBufferEncMode()
	var buf bytes.Buffer
	return Codec{
		Name: nameCBOR,
		encode: func() ([]byte, error) {
			buf.Reset()
			err := mode.MarshalToBuffer(v, &buf)
			return buf.Bytes(), err
		},
		decode: func(p []byte) (any, error) { got := new(T); return got, cbor.Unmarshal(p, got) },
	}, err
}

func protobuf[M any, P interface {
	*M
	proto.Message
}](v P) (Codec, error) {
	var buf []byte
	return Codec{
		Name: nameProtobuf,
		encode: func() (_ []byte, err error) {
			buf, err = proto.MarshalOptions{}.MarshalAppend(buf[:0], v)
			return buf, err
		},
		decode: func(p []byte) (any, error) { got := P(new(M)); return got, proto.Unmarshal(p, got) },
	}, nil
}

func protoOf(c *Call) *codecspb.Call {
	return &codecspb.Call{Method: c.Method, Id: c.ID, Key: c.Key, N: c.N, Ok: c.OK}
}

func protoOfEnvelope(e *Envelope) *codecspb.Envelope {
	args := &codecspb.Args{
		Name: e.Args.Name, Count: e.Args.Count, Flag: e.Args.Flag, Ratio: e.Args.Ratio,
		Samples: e.Args.Samples, Labels: e.Args.Labels,
	}
	for _, i := range e.Args.Items {
		args.Items = append(args.Items, &codecspb.Item{Id: i.ID, Label: i.Label, X: i.X, Y: i.Y, Tags: i.Tags})
	}
	return &codecspb.Envelope{
		Type: e.Type, From: e.From, To: e.To, Method: e.Method, Session: e.Session,
		Seq: e.Seq, Deadline: e.Deadline, Args: args,
	}
}
