package main

import (
	"bytes"
	"testing"
)

func TestQuickstartMakesEveryKindOfCall(t *testing.T) {
	const want = `unary:         "hello world" <nil>
its error:     remote: invalid argument: name is empty true
server stream: "tick 1" <nil>
server stream: "tick 2" <nil>
client stream: "noted: sum 6" <nil>
bidi:          "you said one" <nil>
bidi:          "you said two" <nil>
`
	var got bytes.Buffer
	if err := run(t.Context(), &got); err != nil {
		t.Fatal(err)
	}
	if got.String() != want {
		t.Fatalf("got:\n%s\nwant:\n%s", got.String(), want)
	}
}
