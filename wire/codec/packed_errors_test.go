package codec

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/mycel-rpc/mycel/wire/compress"
	"github.com/mycel-rpc/mycel/wire/internal/item"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(s, err)
	}
	return b
}

type (
	int64s struct{ L []int64 }
	rows   struct {
		L []struct {
			A int64
			S string
			B bool
		}
	}
)

func TestMalformedPackedLists(t *testing.T) {
	type (
		int16s   struct{ L []int16 }
		bools    struct{ L []bool }
		texts    struct{ L []string }
		arrays   struct{ L [3]int64 }
		maps     struct{ L []map[string]int }
		narrowed struct{ L []struct{ A int8 } }
	)
	const (
		column2 = "d9e36d 46 10 10 00 00 00 00" // two zeros
		false3  = "d9e36d 46 11 0c 00 00 00 00" // three, of 4 bytes each
	)
	for _, test := range []struct {
		name  string
		v     any
		msg   string // in hexadecimal
		field string
		text  string
	}{
		{"no codec", &int64s{}, "81 d9e36d 40", "L", "packed list without a codec"},
		{"unknown codec", &int64s{}, "81 d9e36d 44 09 08 00 00", "L", "list of int64 packed with codec 9, expected delta64"},
		{"codec of other elements", &int64s{}, "81 d9e36d 44 12 08 00 00", "L", "list of int64 packed with decimal64, expected delta64"},
		{"no elements", &int64s{}, "81 d9e36d 41 10", "L", "no plain size"},
		{"elements end early", &int64s{}, "81 d9e36d 43 10 10 00", "L", "ends early"},
		{"half an element", &int64s{}, "81 d9e36d 43 10 0c 00", "L", "ends within an element"},
		{"more than there can be", &int64s{}, "81 d9e36d 46 10 ffffffff 0f", "L", "packed list: "},
		{"a text", &int64s{}, "81 d9e36d 61 10", "L", "expected bytes, found text"},
		{"another tag", &int64s{}, "81 d9e370 40", "L", "typed array of another kind of numbers"},
		{"too large a number", &int16s{}, "81 d9e36d 49 11 04 00 80808001 00 00", "L", "element of a packed list is no int16"},
		{"a bool of 2", &bools{}, "81 d9e36d 46 11 04 00 04 00 00", "L", "element of a packed list is no bool"},
		{"array of another length", &arrays{}, "81 " + column2, "L", "2 elements, expected 3"},
		{"a list that has no packed form", &maps{}, "81 " + column2, "L", "list of map with tag 58221"},
		{"texts of numbers", &texts{}, "81 " + false3, "L", "list of texts with an unknown tag"},
		{"dictionary of numbers", &int64s{}, "81 d9e36f 82 80 " + false3, "L", "typed array of another kind"},
		{"dictionary without indexes", &texts{}, "81 d9e36f 81 80", "L", "1 elements, expected 2"},
		{"dictionary with other indexes", &texts{}, "81 d9e36f 82 81 61 61 81 00", "L", "indexes of a dictionary that are not packed"},
		{"index behind the dictionary", &texts{}, "81 d9e36f 82 80 " + false3, "L", "index behind a dictionary"},
		{"dictionary that is not UTF-8", &texts{}, "81 d9e36f 82 81 61 ff " + false3, "L", "text is not UTF-8"},
		{"table of no structs", &rows{}, "81 d9e36e 84 00 80 80 80", "L", "table of 0 structs"},
		{"table of too many structs", &rows{}, "81 d9e36e 84 19ffff 80 80 80", "L", "table of 65535 structs in 3 bytes"},
		{"table of other columns", &rows{}, "81 d9e36e 83 01 81 00 81 60", "L", "3 elements, expected 4"},
		{"column of another length", &rows{}, "81 d9e36e 84 01 82 00 00 81 60 81 f4", "L[].A", "2 elements, expected 1"},
		{"packed column of another length", &rows{}, "81 d9e36e 84 01 " + column2 + " 81 60 81 f4", "L[].A", "2 elements, expected 1"},
		{"typed column of another length", &rows{}, "81 d9e36e 84 01 d84f 50 00000000000000000000000000000000 81 60 81 f4", "L[].A", "2 elements, expected 1"},
		{"typed column of other numbers", &rows{}, "81 d9e36e 84 01 d84e 44 00000000 81 60 81 f4", "L[].A", "column with an unknown tag"},
		{"dictionary of another length", &rows{}, "81 d9e36e 84 01 81 00 d9e36f 82 81 60 " + false3 + " 81 f4", "L[].S", "3 elements, expected 1"},
		{"column of other values", &rows{}, "81 d9e36e 84 01 81 60 81 60 81 f4", "L[].A", "expected unsigned integer, found text"},
		{"table in place of numbers", &int64s{}, "81 d9e36e 82 01 81 00", "L", "typed array of another kind"},
		{"table in place of maps", &maps{}, "81 d9e36e 82 01 81 00", "L", "list of map with tag 58222"},
		{"packed in place of a table", &rows{}, "81 " + column2, "L", "list of struct with tag 58221"},
		{"numbers that overflow in a column", &narrowed{}, "81 d9e36e 82 01 d9e36d 47 11 04 00 80 02 00 00", "L[].A", "element of a packed list is no int8"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var failed *DecodeError
			err := codecOf(t, test.v).Decode(unhex(t, test.msg), test.v, Limits{})
			if !errors.As(err, &failed) || failed.Field != test.field || !strings.Contains(err.Error(), test.text) {
				t.Fatalf("got %v", err)
			}
			t.Log(err)
		})
	}
}

// bomb is a list of n numbers that are all the same: the most elements for a byte that there can be.
func bomb(t testing.TB, n int) []byte {
	t.Helper()
	b, err := compress.AppendColumn([]byte{byte(compress.Delta64)}, make([]int64, n), 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	return item.AppendBytes(item.AppendHead(nil, item.Tag, tagPacked), b)
}

func TestPackedBombs(t *testing.T) {
	struct1 := func(list []byte) []byte { return append([]byte{0x81}, list...) }
	const n = 100000
	list := bomb(t, n)
	if len(list) > 8*n/50 {
		t.Fatalf("%d bytes for %d numbers are no bomb", len(list), n)
	}
	type pointers struct{ L []*int64 }
	type fat struct {
		L []struct {
			A int64
			X [1000]int64
		}
	}
	type thin struct{ L []struct{ A int64 } }
	type kept struct{ Rest Extra }
	table := append(item.AppendUint(item.AppendHead(item.AppendHead(nil, item.Tag, tagTable), item.Array, 2), n), list...)
	dictionary := func(size int) []byte {
		b := item.AppendHead(item.AppendHead(nil, item.Tag, tagDictionary), item.Array, 2)
		b = item.AppendText(item.AppendHead(b, item.Array, 1), strings.Repeat("x", size))
		indexes, err := compress.AppendColumn([]byte{byte(compress.Delta32)}, make([]uint32, n), 1<<30)
		if err != nil {
			t.Fatal(err)
		}
		return item.AppendBytes(item.AppendHead(b, item.Tag, tagPacked), indexes)
	}
	for _, test := range []struct {
		name        string
		writer, v   any
		msg         []byte
		lim         Limits
		limit, text string // text "" for success
	}{
		{"numbers within the limit", &int64s{}, &int64s{}, struct1(list), Limits{MaxMessageBytes: 8 * n}, "", ""},
		{"numbers", &int64s{}, &int64s{}, struct1(list), Limits{MaxMessageBytes: 8*n - 1}, "MaxMessageBytes", "L: 800000 exceeds codec.Limits.MaxMessageBytes 799999"},
		{"numbers in memory", &int64s{}, &int64s{}, struct1(list), Limits{MaxMemoryBytes: 8*n - 1}, "MaxMemoryBytes", ""},
		{"numbers behind pointers", &int64s{}, &pointers{}, struct1(list), Limits{MaxMemoryBytes: 8 * n}, "MaxMemoryBytes", ""},
		{"a table", &thin{}, &thin{}, struct1(table), Limits{MaxMessageBytes: 8*n - 1}, "MaxMessageBytes", ""},
		{"a table of many structs", &thin{}, &thin{}, struct1(table), Limits{MaxElements: n - 1}, "MaxElements", ""},
		{"a table of large structs", &thin{}, &fat{}, struct1(table), Limits{}, "MaxMemoryBytes", ""},
		{"numbers that nobody knows", &int64s{}, &kept{}, struct1(list), Limits{MaxElements: n - 1}, "MaxElements", ""},
		{"a table that nobody knows", &thin{}, &kept{}, struct1(table), Limits{MaxMemoryBytes: 20 * n}, "MaxMemoryBytes", ""},
		{"texts", &Texts{}, &Texts{}, struct1(dictionary(1000)), Limits{}, "MaxMessageBytes", ""},
		{"short texts", &Texts{}, &Texts{}, struct1(dictionary(100)), Limits{}, "", ""},
		{"texts that nobody knows", &Texts{}, &kept{}, struct1(dictionary(600)), Limits{MaxMemoryBytes: 32 << 20}, "MaxMemoryBytes", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			rd, err := codecOf(t, test.v).Reader(codecOf(t, test.writer).Schema())
			if err != nil {
				t.Fatal(err)
			}
			err = rd.Decode(test.msg, test.v, test.lim)
			var limit *LimitError
			switch {
			case test.limit == "" && err == nil:
			case test.limit == "", !errors.As(err, &limit) || limit.Limit != test.limit, !strings.Contains(err.Error(), test.text):
				t.Fatalf("got %v", err)
			}
		})
	}
	// What is not read does not count.
	type older struct{ X int }
	rd, err := codecOf(t, &older{}).Reader(codecOf(t, &int64s{}).Schema())
	if err != nil {
		t.Fatal(err)
	}
	if err := rd.Decode(struct1(list), &older{}, Limits{MaxMessageBytes: 1}); err != nil {
		t.Error(err)
	}
	// Several lists count together.
	type two struct{ A, B []int64 }
	both := append(append([]byte{0x82}, list...), list...)
	var limit *LimitError
	if err := codecOf(t, &two{}).Decode(both, &two{}, Limits{MaxMessageBytes: 8*2*n - 1}); !errors.As(err, &limit) || limit.Field != "B" {
		t.Error(err)
	}
	if err := codecOf(t, &two{}).Decode(both, &two{}, Limits{MaxMessageBytes: -1}); err == nil || !strings.Contains(err.Error(), "illegal limits") {
		t.Error(err)
	}
}

// TestPackedListsInMemoryThatChanges: messages that another process can write to meanwhile are decoded in place.
func TestPackedListsInMemoryThatChanges(t *testing.T) {
	v := newPackable(100, false)
	c := codecOf(t, v)
	if !c.InPlace() {
		t.Fatal("not decoded in place, so this shows nothing")
	}
	msg := packedOf(t, v)
	stop, done := make(chan struct{}), make(chan struct{})
	shared := append([]byte(nil), msg...)
	go func() { // ends when stop is closed; the test waits for done
		defer close(done)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
				scribble(shared, i)
			}
		}
	}()
	ok := 0
	for range 100 {
		if c.Decode(shared, newOf(v), Limits{}) == nil {
			ok++
		}
	}
	close(stop)
	<-done
	t.Log(fmt.Sprint(ok, " of 100 were accepted"))
}
