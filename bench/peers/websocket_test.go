package main

import (
	"bytes"
	"crypto/tls"
	"errors"
	"testing"

	"github.com/vmihailenco/msgpack/v5"
)

func didResume(c caller) bool {
	return c.(*wsClient).conn.NetConn().(*tls.Conn).ConnectionState().DidResume
}

func TestCallIsTwoMapsAsHyphaRPCWritesThem(t *testing.T) {
	b, err := appendCall(nil, "small", "s1", &Small{ID: 5, Name: "Ada"})
	if err != nil {
		t.Fatal(err)
	}
	d := msgpack.NewDecoder(bytes.NewReader(b))
	main, err := d.DecodeMap()
	if err != nil {
		t.Fatal(err)
	}
	extra, err := d.DecodeMap()
	if err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]string{
		"type": "method", "from": clientAddress, "to": serverAddress, "method": "services.bench.small", "session": "s1",
	} {
		if main[key] != want {
			t.Errorf("main[%q] is %v, want %v", key, main[key], want)
		}
	}
	args := extra["args"].([]any)
	if name := args[0].(map[string]any)["name"]; name != "Ada" || extra["promise"] != "*" || len(main) != 5 || len(extra) != 2 {
		t.Errorf("unexpected call: main %v, extra %v", main, extra)
	}
}

func TestFramesWithoutArgumentsAndUnknownKeysAreParsed(t *testing.T) {
	b, err := msgpack.Marshal(map[string]any{"type": "method", "method": "s1.resolve", "user": map[string]any{"id": "x"}})
	if err != nil {
		t.Fatal(err)
	}
	f, err := parseFrame(b)
	if err != nil || string(f.method) != "s1.resolve" || f.arg != nil {
		t.Errorf("parsed %+v, error %v", f, err)
	}
	if session, suffix := cutMethod(f.method); string(session) != "s1" || suffix != resolve {
		t.Errorf("session %q, suffix %q", session, suffix)
	}
}

func FuzzParseFrame(f *testing.F) {
	call, err := appendCall(nil, "small", "s1", &samples().small[0])
	if err != nil {
		f.Fatal(err)
	}
	f.Add(call)
	f.Add(appendChunkHeader(nil, []byte("s1"), 1<<20, 0))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := parseFrame(b)
		if err == nil && (len(got.method) == 0 || len(got.method)+len(got.session)+len(got.arg) > len(b)) {
			t.Errorf("frame %+v is more than its %d bytes", got, len(b))
		}
	})
}

func TestCombinerWritesWhatCameMeanwhileAtOnce(t *testing.T) {
	var c combiner
	var messages [][]byte
	c.init(func(b []byte) error {
		messages = append(messages, bytes.Clone(b))
		if len(messages) == 1 { // others come while the first is being written
			for _, s := range []string{"two", "three"} {
				if err := c.write([]byte(s), nil); err != nil {
					t.Error(err)
				}
			}
		}
		return nil
	})
	if err := c.write([]byte("o"), []byte("ne")); err != nil {
		t.Fatal(err)
	}
	want := [][]byte{[]byte("\x03\x00\x00\x00one"), []byte("\x03\x00\x00\x00two\x05\x00\x00\x00three")}
	if len(messages) != 2 || !bytes.Equal(messages[0], want[0]) || !bytes.Equal(messages[1], want[1]) {
		t.Errorf("wrote %q, want %q", messages, want)
	}
}

func TestCombinerKeepsItsError(t *testing.T) {
	broken := errors.New("broken")
	var c combiner
	c.init(func([]byte) error { return broken })
	for range 2 {
		if err := c.write([]byte("x"), nil); !errors.Is(err, broken) {
			t.Errorf("write: %v, want %v", err, broken)
		}
	}
}
