package main

import (
	"bytes"
	"testing"
)

func TestQuickstartMakesEveryKindOfCall(t *testing.T) {
	const want = `unary: hello world
error: remote: invalid argument: name is empty
server stream: tick 1
server stream: tick 2
server stream: tick 3
server reports: 2 values received
server reports: 4 values received
client stream: 4 values, mean 1.0
bidi: you said one
bidi: you said two
`
	var got bytes.Buffer
	if err := run(t.Context(), &got); err != nil {
		t.Fatal(err)
	}
	if got.String() != want {
		t.Fatalf("got:\n%s\nwant:\n%s", got.String(), want)
	}
}
