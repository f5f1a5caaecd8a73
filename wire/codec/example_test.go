package codec_test

import (
	"errors"
	"fmt"
	"reflect"

	"github.com/mycel-rpc/mycel/wire/codec"
	"github.com/mycel-rpc/mycel/wire/compress"
	"github.com/mycel-rpc/mycel/wire/schema"
)

type Item struct {
	Label string
	Price int64
}

type Order struct {
	ID    uint64
	Items []Item
	Note  string `cbor:",default=none"`
}

// OrderV1 is what an older program sends.
type OrderV1 struct {
	Customer string
	Items    []Item
	ID       uint32
}

func Example() {
	c, err := codec.Of[Order]()
	if err != nil {
		fmt.Println(err)
		return
	}
	b, err := c.Append(nil, &Order{ID: 7, Items: []Item{{"pen", 120}}})
	if err != nil {
		fmt.Println(err)
		return
	}
	var got Order
	if err := c.Decode(b, &got, codec.Limits{}); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("% x\n%+v\n", b, got)
	// Output:
	// 83 07 81 82 63 70 65 6e 18 78 60
	// {ID:7 Items:[{Label:pen Price:120}] Note:}
}

func ExampleFor() {
	c, err := codec.For(reflect.TypeFor[Item]())
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Print(c.Type(), ": ", c.Schema())
	_, err = codec.For(reflect.TypeFor[struct{ Done chan bool }]())
	fmt.Println(err)
	// Output:
	// codec_test.Item: type Item struct {
	// 	Label string
	// 	Price int64
	// }
	// codec: struct { Done chan bool }.Done: chan bool: a chan cannot be sent
}

func ExampleCodec_Reader() {
	older, err := codec.Of[OrderV1]()
	if err != nil {
		fmt.Println(err)
		return
	}
	b, err := older.Append(nil, &OrderV1{"Ada", []Item{{"pen", 120}}, 7})
	if err != nil {
		fmt.Println(err)
		return
	}
	c, err := codec.Of[Order]()
	if err != nil {
		fmt.Println(err)
		return
	}
	r, err := c.Reader(older.Schema()) // over a network: schema.Parse(canonical, limits)
	if err != nil {
		fmt.Println(err)
		return
	}
	var got Order
	if err := r.Decode(b, &got, codec.Limits{}); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("%+v\n", got)
	// Output: {ID:7 Items:[{Label:pen Price:120}] Note:none}
}

func ExampleCodec_Reader_mismatch() {
	type OrderV0 struct{ ID string }
	older, err := codec.Of[OrderV0]()
	if err != nil {
		fmt.Println(err)
		return
	}
	c, err := codec.Of[Order]()
	if err != nil {
		fmt.Println(err)
		return
	}
	_, err = c.Reader(older.Schema())
	var mismatch *schema.MismatchError
	fmt.Println(errors.As(err, &mismatch), err)
	// Output: true schema: field "ID": writer sends text, reader wants uint64
}

func ExampleExtra() {
	// ItemV0 is what a relay knows of an Item.
	type ItemV0 struct {
		Label string
		Rest  codec.Extra
	}
	relay, err := codec.Of[ItemV0]()
	if err != nil {
		fmt.Println(err)
		return
	}
	item, err := codec.Of[Item]()
	if err != nil {
		fmt.Println(err)
		return
	}
	// pass sends v, of the type of from, to a reader of the type of to, which decodes it into w.
	pass := func(from *codec.Codec, v any, to *codec.Codec, w any) error {
		b, err := from.Append(nil, v)
		if err != nil {
			return err
		}
		r, err := to.Reader(from.Schema())
		if err != nil {
			return err
		}
		return r.Decode(b, w, codec.Limits{})
	}
	var via ItemV0
	if err := pass(item, &Item{"pen", 120}, relay, &via); err != nil {
		fmt.Println(err)
		return
	}
	via.Label += "cil"
	var got Item
	if err := pass(relay, &via, item, &got); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("%s % x\n%+v\n", via.Rest[0].Name, via.Rest[0].Item, got)
	// Output:
	// Price 18 78
	// {Label:pencil Price:120}
}

func ExampleCodec_AppendGeneric() {
	c, err := codec.Of[Item]()
	if err != nil {
		fmt.Println(err)
		return
	}
	b, err := c.AppendGeneric(nil, &Item{"pen", 120})
	if err != nil {
		fmt.Println(err)
		return
	}
	var got Item
	if err := c.DecodeGeneric(b, &got, codec.Limits{}); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("%q\n%+v\n", b, got)
	// Output:
	// "\xa2eLabelcpenePrice\x18x"
	// {Label:pen Price:120}
}

func ExampleCodec_Decode_limits() {
	c, err := codec.Of[[]string]()
	if err != nil {
		fmt.Println(err)
		return
	}
	b, err := c.Append(nil, &[]string{"a", "b", "c"})
	if err != nil {
		fmt.Println(err)
		return
	}
	var got []string
	err = c.Decode(b, &got, codec.Limits{MaxElements: 2})
	var limit *codec.LimitError
	fmt.Println(errors.As(err, &limit), err)
	// Output: true codec: []string: 3 exceeds codec.Limits.MaxElements 2
}

// ExampleCodec_AppendWith: a session whose scene repeats, with a token that nobody may remember.
func ExampleCodec_AppendWith() {
	type Update struct {
		Token string `cbor:",secret"`
		Scene string
		Frame uint64 `cbor:",nodedup"`
	}
	c, err := codec.Of[Update]()
	if err != nil {
		fmt.Println(err)
		return
	}
	var spans []codec.Span
	b, err := c.AppendWith(nil, &Update{"t", "plate", 7}, codec.AppendOptions{Spans: &spans})
	if err != nil {
		fmt.Println(err)
		return
	}
	at := 0
	for _, s := range spans {
		fmt.Printf("% x secret=%v nodedup=%v\n", b[at:s.End], s.Secret, s.NoDedup)
		at = s.End
	}
	// Output:
	// 83 61 74 secret=true nodedup=false
	// 65 70 6c 61 74 65 secret=false nodedup=false
	// 07 secret=false nodedup=true
}

// ExamplePacker: on a slow path a batch of measurements is a table of columns.
func ExamplePacker() {
	type Reading struct {
		At     int64
		Value  float64
		Device string
	}
	type Batch struct{ Readings []Reading }
	c, err := codec.Of[Batch]()
	if err != nil {
		fmt.Println(err)
		return
	}
	var batch Batch
	for i := range int64(100) {
		batch.Readings = append(batch.Readings, Reading{1768636800 + i, float64(i%10) / 10, fmt.Sprint("sensor-", i%3)})
	}
	plain, err := c.Append(nil, &batch)
	if err != nil {
		fmt.Println(err)
		return
	}
	packer := c.NewPacker() // one for each method and direction
	path := compress.Path{BytesPerSecond: 1e6}
	b, err := c.AppendWith(nil, &batch, codec.AppendOptions{Packer: packer, Path: path})
	if err != nil {
		fmt.Println(err)
		return
	}
	var got Batch
	if err := c.Decode(b, &got, codec.Limits{MaxMessageBytes: 1 << 20}); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(len(got.Readings), "readings, smaller than a tenth:", len(b) < len(plain)/10)
	for _, f := range packer.Stats(path) {
		fmt.Println(f.Field, f.Packing, f.Packed)
	}
	// Output:
	// 100 readings, smaller than a tenth: true
	// Readings table true
	// Readings[].At delta64 true
	// Readings[].Value decimal64 true
	// Readings[].Device dictionary true
}
