package schema_test

import (
	"errors"
	"fmt"

	"github.com/mycel-rpc/mycel/wire/schema"
)

func item(price schema.Kind) *schema.Type {
	return &schema.Type{Kind: schema.KindStruct, Struct: &schema.Struct{Name: "Item", Fields: []schema.Field{
		{Name: "Label", Type: &schema.Type{Kind: schema.KindText}},
		{Name: "Price", Type: &schema.Type{Kind: price}, ID: 2},
	}}}
}

func ExampleNew() {
	s, err := schema.New(item(schema.KindInt64), schema.Limits{})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(s.ID())
	fmt.Print(s)
	// Output:
	// 78423c7284671826f044ca387bde521a
	// type Item struct {
	// 	Label string
	// 	Price int64 `id=2`
	// }
}

func ExampleParse() {
	s, err := schema.New(item(schema.KindInt64), schema.Limits{})
	if err != nil {
		fmt.Println(err)
		return
	}
	received, err := schema.Parse(s.Canonical(), schema.DefaultLimits)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(received.Name(), received.Depth(), received.ID() == s.ID())
	_, err = schema.Parse(append([]byte(nil), 0x83, 1), schema.DefaultLimits)
	fmt.Println(errors.Is(err, schema.ErrInvalid))
	// Output:
	// Item 1 true
	// true
}

func ExampleResolve() {
	reader, err := schema.New(item(schema.KindInt64), schema.Limits{})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, price := range []schema.Kind{schema.KindInt32, schema.KindText} {
		writer, err := schema.New(item(price), schema.Limits{})
		if err != nil {
			fmt.Println(err)
			return
		}
		_, err = schema.Resolve(writer, reader)
		fmt.Println(err)
	}
	// Output:
	// <nil>
	// schema: field "Price": writer sends text, reader wants int64
}
