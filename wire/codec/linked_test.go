package codec

import (
	"bytes"
	"errors"
	"testing"
)

// seat is a value that is its place in the table that it is linked to.
type seat struct{ name string }

func (s *seat) AppendLinked(dst []byte, link any) ([]byte, error) {
	table, ok := link.(*[]string)
	if !ok {
		return dst, errors.New("no table")
	}
	*table = append(*table, s.name)
	return append(dst, byte(len(*table)-1)), nil
}

func (s *seat) DecodeLinked(b []byte, link any) error {
	table, ok := link.(*[]string)
	if !ok || len(b) != 1 || int(b[0]) >= len(*table) {
		return errors.New("no such seat")
	}
	s.name = (*table)[b[0]]
	return nil
}

type seating struct {
	First seat
	Rest  []seat
	Name  string
}

// TestLinkedValues: values that depend on the connection are encoded and decoded with what stands for it.
func TestLinkedValues(t *testing.T) {
	c, err := Of[seating]()
	if err != nil {
		t.Fatal(err)
	}
	if !c.Linked() {
		t.Error("the codec does not know that it is linked")
	}
	var table []string
	want := seating{seat{"a"}, []seat{{"b"}, {"c"}}, "supper"}
	b, err := c.AppendLinked(nil, &want, &table)
	if err != nil || !bytes.Contains(b, []byte("supper")) || bytes.Contains(b, []byte("a")) {
		t.Fatalf("encoded as %x, %v", b, err)
	}
	var got seating
	if err := c.Decode(b, &got, Limits{Link: &table}); err != nil || got.First != want.First || len(got.Rest) != 2 || got.Rest[1] != want.Rest[1] {
		t.Errorf("decoded %+v, %v", got, err)
	}
	var failed *DecodeError
	if err := c.Decode(b, &got, Limits{}); !errors.As(err, &failed) || failed.Field != "First" {
		t.Errorf("without a link: %v, want a DecodeError for First", err)
	}
	var refused *EncodeError
	if _, err := c.Append(nil, &want); !errors.As(err, &refused) || refused.Field != "First" {
		t.Errorf("without a link: %v, want an EncodeError for First", err)
	}
	if _, err := c.AppendGeneric(nil, &want); !errors.As(err, &refused) {
		t.Errorf("in the generic form: %v, want an EncodeError", err)
	}
	if err := c.DecodeGeneric([]byte{0xa0}, &got, Limits{}); !errors.As(err, &failed) {
		t.Errorf("from the generic form: %v, want a DecodeError", err)
	}
}
