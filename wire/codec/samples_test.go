package codec

import (
	"bytes"
	"math"
	"net/netip"
	"time"

	"github.com/fxamacker/cbor/v2"
)

type Color int

func (c Color) MarshalText() ([]byte, error) { return []byte{byte('a' + c)}, nil }
func (c *Color) UnmarshalText(p []byte) error {
	if len(p) != 1 || p[0] < 'a' {
		return bytes.ErrTooLarge
	}
	*c = Color(p[0] - 'a')
	return nil
}

type (
	Empty  struct{}
	Small  struct{ A int8 }
	Texts  struct{ S []string }
	Scalar struct {
		B   bool
		I   int
		I8  int8
		I16 int16
		I32 int32
		I64 int64
		U   uint
		U8  uint8
		U16 uint16
		U32 uint32
		U64 uint64
		F32 float32
		F64 float64
		S   string
		P   []byte
		D   time.Duration
		T   time.Time
	}
	Lists struct {
		I8      []int8
		I16     []int16
		I32     []int32
		I64     []int64
		I       []int
		U16     []uint16
		U32     []uint32
		U64     []uint64
		F32     []float32
		F64     []float64
		Plain   []int64 `cbor:",plain"`
		B       []bool
		S       []string `cbor:"s"`
		P       [][]byte
		Structs []Small
		Deep    [][]Small
		Times   []time.Time
	}
	Arrays struct {
		ID   [16]byte
		F    [9]float64
		N    [2]int
		S    [2]string
		Zero [0]int
		Sub  [1]Small
	}
	Maps struct {
		SS map[string]string
		SI map[string]int64
		SA map[string]any
		IS map[int32]string
		BK map[[2]byte]bool
		SM map[string]Small
		CC map[Color]Color
		SL map[string][]float64
	}
	Pointers struct {
		S *string
		I *int64
		T *time.Time
		M *Small
		L *[]string
		K []*Small
	}
	Custom struct {
		Color Color
		Addr  netip.Addr
		Raw   cbor.RawMessage
		Any   any
	}
	Node struct {
		Name string
		Next *Node
		Kids []Node
		By   map[string]*Node
	}
	Base struct {
		ID   int64
		Name string
	}
	Relay struct {
		Name string `cbor:"name,id=1,required"`
		Kids []Relay
		Kept Extra
	}
	Embedding struct {
		Base
		Name string   // hides Base.Name
		Skip chan int `cbor:"-"`
		priv int
	}
)

func ptr[T any](v T) *T { return &v }

func numbersOf[T int8 | int16 | int32 | int64 | int | uint16 | uint32 | uint64 | float32 | float64](n int) []T {
	s := make([]T, n)
	for i := range s {
		s[i] = T(i*7) - T(i%2)
	}
	return s
}

// samples is one value of every kind of type; they are all pointers.
func samples() map[string]any {
	day := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	return map[string]any{
		"empty":       &Empty{},
		"scalar zero": &Scalar{},
		"scalar": &Scalar{
			true, -1, -128, -32768, math.MinInt32, math.MinInt64, math.MaxUint, 255, 65535, math.MaxUint32,
			math.MaxUint64, 1.5, math.Copysign(0, -1), "grüße", []byte{1, 2}, time.Second, day.Add(7),
		},
		"lists zero": &Lists{},
		"lists short": &Lists{
			numbersOf[int8](3), numbersOf[int16](3), numbersOf[int32](3), numbersOf[int64](3), numbersOf[int](3),
			numbersOf[uint16](1), numbersOf[uint32](1), numbersOf[uint64](1), numbersOf[float32](3),
			numbersOf[float64](3), numbersOf[int64](2), []bool{true, false}, []string{"", "x"}, [][]byte{{1}, nil},
			[]Small{{1}, {-1}}, [][]Small{nil, {{1}}}, []time.Time{day, {}},
		},
		"lists typed": &Lists{
			numbersOf[int8](9), numbersOf[int16](9), numbersOf[int32](9), numbersOf[int64](9), numbersOf[int](9),
			numbersOf[uint16](1 + 8), numbersOf[uint32](8), numbersOf[uint64](8), numbersOf[float32](9),
			numbersOf[float64](40), numbersOf[int64](30), nil, nil, nil, nil, nil, nil,
		},
		"arrays": &Arrays{
			ID: [16]byte{1, 15: 2}, F: [9]float64{1, 2}, N: [2]int{-1, 1}, S: [2]string{"a", ""}, Sub: [1]Small{{7}},
		},
		"maps zero": &Maps{},
		"maps": &Maps{
			map[string]string{"k": "v"}, map[string]int64{"k": -1}, map[string]any{"k": []any{int64(1), "x", nil}},
			map[int32]string{-5: "x"}, map[[2]byte]bool{{1, 2}: true}, map[string]Small{"": {3}}, map[Color]Color{2: 3},
			map[string][]float64{"k": numbersOf[float64](8)},
		},
		"pointers nil": &Pointers{},
		"pointers": &Pointers{
			ptr("x"), ptr(int64(5)), &day, &Small{3}, &[]string{"y"}, []*Small{{1}, nil},
		},
		"custom": &Custom{
			2, netip.MustParseAddr("10.0.0.1"),
			cbor.RawMessage{0x01}, []any{int64(-1), 1.5, []byte{1}, day, map[string]any{"k": true}},
		},
		"recursive": &Node{
			"a", &Node{Name: "b", Next: &Node{Name: "c"}}, []Node{{Name: "d"}, {Name: "e", Kids: []Node{{Name: "f"}}}},
			map[string]*Node{"g": {Name: "h"}},
		},
		"extra none": &Relay{Name: "a"},
		"extra": &Relay{
			"a", []Relay{{Name: "b", Kept: Extra{{Name: "Kept", Item: cbor.RawMessage{0x81, 0x05}}}}},
			Extra{{"old", 7, cbor.RawMessage{0x61, 'x'}}, {Name: "n", Item: cbor.RawMessage{0xf6}}},
		},
		"embedded":   &Embedding{Base: Base{ID: 5}, Name: "n"},
		"list":       &[]string{"a", "b"},
		"number":     ptr(int32(-7)),
		"bytes":      &[]byte{1, 2, 3},
		"typed list": ptr(numbersOf[float64](20)),
		"time":       &day,
		"map":        &map[string]string{"a": "b"},
		"envelope":   newEnvelope(128),
		"call":       &Call{"get", 7, "k/1", 3, true},
		"columns":    newColumns(16),
		"batch":      newBatch(16),
		"packable":   newPackable(16, false),
	}
}
