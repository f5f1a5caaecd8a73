package natspool

import (
	"strings"
	"testing"

	"github.com/mycel-rpc/mycel/pool"
)

func TestKeys(t *testing.T) {
	for _, c := range []struct{ service, address, key string }{
		{"greeter.v1", "10.0.0.7:4433", "greeter=2Ev1.10=2E0=2E0=2E7=3A4433"},
		{"a-b_c", "[fe80::1%eth0]:1", "a-b_c.=5Bfe80=3A=3A1=25eth0=5D=3A1"},
		{"ü =>*", "a:1", "=C3=BC=20=3D=3E=2A.a=3A1"},
		{"s", "*", "s.*"},
	} {
		if got := keyOf(c.service, c.address); got != c.key {
			t.Errorf("%q of %q: got %s, want %s", c.address, c.service, got, c.key)
		}
	}
}

// Whatever a key has, it is a token that NATS takes, and it is that of one name only.
func FuzzKeys(f *testing.F) {
	f.Add("greeter.v1", "greeter=2Ev1")
	f.Add("a", "=")
	f.Fuzz(func(t *testing.T, a, b string) {
		ka, kb := string(appendToken(nil, a)), string(appendToken(nil, b))
		if (ka == kb) != (a == b) {
			t.Errorf("%q and %q have the keys %s and %s", a, b, ka, kb)
		}
		const allowed = "=-_0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
		if strings.Trim(ka, allowed) != "" || len(ka) > 3*len(a) {
			t.Errorf("%q has the key %q", a, ka)
		}
	})
}

// A value that is accepted is one that a registration of the same endpoint could have written.
func FuzzValues(f *testing.F) {
	whole, err := value{pool.Endpoint{Address: "a:1", Priority: 1, Weight: -2, Zone: "z", Metadata: "\"\u2028"}, "name"}.marshal()
	if err != nil {
		f.Fatal(err)
	}
	f.Add("a:1", whole)
	f.Add("a:1", []byte(`{"address":"a:1","Weight":1e3,"registration":null}`))
	f.Add("a:1", []byte(`{"address":"a:1"} {}`))
	f.Fuzz(func(t *testing.T, address string, data []byte) {
		v, err := parseValue("s", keyOf("s", address), data)
		if err != nil {
			return
		}
		if v.Address != address {
			t.Fatalf("the value of %q is about %q", address, v.Address)
		}
		again, err := v.marshal()
		if err != nil { // JSON may write the same text longer than it was
			if len(again) <= maxValueBytes {
				t.Fatal(err)
			}
			return
		}
		if w, err := parseValue("s", keyOf("s", address), again); err != nil || w != v {
			t.Fatalf("%+v became %+v, %v", v, w, err)
		}
	})
}
