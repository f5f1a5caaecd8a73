package streams

import (
	"fmt"
	"strings"
	"testing"

	"github.com/mycel-rpc/mycel/wire"
	"github.com/mycel-rpc/mycel/wire/schema"
)

// schemaOf returns the schema of a struct with one field, different for each name.
func schemaOf(t testing.TB, name string) *schema.Schema {
	t.Helper()
	s, err := schema.New(&schema.Type{Kind: schema.KindStruct, Struct: &schema.Struct{
		Name: name, Fields: []schema.Field{{Name: "n", Type: &schema.Type{Kind: schema.KindBytes}}},
	}}, schema.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// inlineRef returns s as definition n of a sender.
func inlineRef(n int, s *schema.Schema) *wire.SchemaRef {
	return &wire.SchemaRef{Num: uint64(2*n + 1), ID: s.ID(), Canonical: s.Canonical()}
}

// TestSchemaIsInlineUntilAcknowledged: nothing waits, and the numbers mean the same on both sides.
func TestSchemaIsInlineUntilAcknowledged(t *testing.T) {
	onBoth(t, func(t *testing.T, k kind) {
		known, fresh := schemaOf(t, "known"), schemaOf(t, "fresh")
		client, server := k.pair(t, Config{}, Config{Schemas: []*schema.Schema{known}, Serve: echo})
		if err := client.Ready(t.Context()); err != nil {
			t.Fatal(err)
		}
		if ref := client.SchemaRef(known); ref.Num != 2 || ref.Inline() {
			t.Errorf("a schema of the peer's hello is sent as %+v, want number 2", ref)
		}
		first, again := client.SchemaRef(fresh), client.SchemaRef(fresh)
		if !first.Inline() || !again.Inline() || first.Num != 1 || again.Num != 1 || first.ID != fresh.ID() {
			t.Errorf("a new schema is sent as %+v, then %+v, want definition 1 both times", first, again)
		}
		for _, ref := range []wire.SchemaRef{first, again} {
			if s, err := server.Schema(&ref); err != nil || s.ID() != fresh.ID() {
				t.Fatalf("the receiver made %v of it, %v", s, err)
			}
		}
		until(t, client, func() bool { ref := client.SchemaRef(fresh); return !ref.Inline() })
		ref := client.SchemaRef(fresh)
		if s, err := server.Schema(&ref); err != nil || ref.Num != 1 || s.ID() != fresh.ID() {
			t.Errorf("by number %d the receiver found %v, %v", ref.Num, s, err)
		}
	})
}

// TestRefusedSchemaBecomesGeneric: the sender goes on without it.
func TestRefusedSchemaBecomesGeneric(t *testing.T) {
	p, client := startPipeEnd(t, Config{}, true)
	control := acceptRaw(t, p.ends[1])
	s := schemaOf(t, "s")
	if ref := client.SchemaRef(s); !ref.Inline() {
		t.Fatalf("sent as %+v", ref)
	}
	answer := wire.AppendSchemaAnswer(nil, wire.SchemaAnswer{Num: 1, Refused: true, Reason: "no room"})
	writeRaw(t, control, helloFrame(), frameOf(wire.FrameHead{Type: wire.FrameSchema}, answer...))
	until(t, client, func() bool { ref := client.SchemaRef(s); return ref.Num == 0 && !ref.Inline() })
}

// TestSchemasRefused: a definition that cannot be kept is answered with the reason, on the control stream.
func TestSchemasRefused(t *testing.T) {
	one, two := schemaOf(t, "one"), schemaOf(t, "two")
	wrongID := inlineRef(0, one)
	wrongID.ID[0]++
	garbage := &wire.SchemaRef{Num: 1, Canonical: []byte("garbage")}
	for _, c := range []struct {
		name string
		ref  *wire.SchemaRef
	}{{"wrong hash", wrongID}, {"garbage", garbage}} {
		t.Run(c.name, func(t *testing.T) {
			server, peer := rawPipe(t, Config{})
			r := rawReader(t, openRawControl(t, peer))
			readRaw(t, r) // hello
			if s, err := server.Schema(c.ref); err == nil || s != nil {
				t.Errorf("accepted as %v", s)
			}
			a, err := wire.ParseSchemaAnswer(readRaw(t, r).payload)
			if err != nil || !a.Refused || a.Num != 1 || a.Reason == "" {
				t.Errorf("answered %+v, %v, want a refusal with a reason", a, err)
			}
		})
	}
	t.Run("second definition of a number", func(t *testing.T) {
		server, peer := rawPipe(t, Config{})
		openRawControl(t, peer)
		if _, err := server.Schema(inlineRef(3, one)); err != nil {
			t.Fatal(err)
		}
		if _, err := server.Schema(inlineRef(3, two)); err == nil || !strings.Contains(err.Error(), "second time") {
			t.Errorf("got error %v, want one about the second definition", err)
		}
		if s, err := server.Schema(&wire.SchemaRef{Num: 7}); err != nil || s.ID() != one.ID() {
			t.Errorf("the first definition is lost: %v, %v", s, err)
		}
	})
	t.Run("number without a definition", func(t *testing.T) {
		server, _ := rawPipe(t, Config{Schemas: []*schema.Schema{one}})
		for _, num := range []uint64{1, 3, 4, 1 << 40, 1<<64 - 1, 1<<64 - 2} {
			if s, err := server.Schema(&wire.SchemaRef{Num: num}); err == nil {
				t.Errorf("number %d is %v", num, s)
			}
		}
	})
}

// TestSchemaTablesAreBounded: by count and by bytes, on both sides; the message at hand is readable all the same.
func TestSchemaTablesAreBounded(t *testing.T) {
	t.Run("count", func(t *testing.T) {
		var in schemaReceiver
		in.init(nil)
		for _, n := range []int{0, maxSchemas - 1, maxSchemas, 1 << 40} {
			ref := inlineRef(n, schemaOf(t, fmt.Sprint(n)))
			s, answer, err := in.define(ref.Num, ref.ID, ref.Canonical)
			if err != nil || s == nil || !answer {
				t.Errorf("definition %d: %v, answer %v, %v", n, s, answer, err)
			}
			if kept := in.get(ref.Num) != nil; kept != (n < maxSchemas) {
				t.Errorf("definition %d is kept: %v", n, kept)
			}
		}
	})
	t.Run("bytes", func(t *testing.T) {
		var in schemaReceiver
		in.init(nil)
		kept := 0
		for n := range 200 {
			ref := inlineRef(n, schemaOf(t, fmt.Sprint(n, strings.Repeat("x", 10<<10))))
			if _, _, err := in.define(ref.Num, ref.ID, ref.Canonical); err != nil {
				t.Fatal(err)
			}
			if in.get(ref.Num) != nil {
				kept += len(ref.Canonical)
			}
		}
		if kept > maxSchemaBytes || kept < maxSchemaBytes-20<<10 {
			t.Errorf("%d bytes are kept, want as much as fits %d", kept, maxSchemaBytes)
		}
	})
	t.Run("sender", func(t *testing.T) {
		var out schemaSender
		for n := range maxSchemas + 10 {
			if num, inline := out.ref(schemaOf(t, fmt.Sprint(n))); inline != (n < maxSchemas) || !inline && num != 0 {
				t.Fatalf("schema %d is sent as number %d, inline %v", n, num, inline)
			}
		}
		if !out.answer(1, false) || out.answer(1, false) || out.answer(1<<40+1, false) {
			t.Error("a schema was answered twice, or one that was never sent")
		}
	})
}
