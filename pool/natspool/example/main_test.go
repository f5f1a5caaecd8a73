package main

import (
	"bytes"
	"context"
	"regexp"
	"testing"
	"time"
)

func TestServersComeAndGo(t *testing.T) {
	url, stop, err := embedded()
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var got bytes.Buffer
	if err := run(ctx, &got, url); err != nil {
		t.Fatalf("%v, after:\n%s", err, &got)
	}
	want := regexp.MustCompile(`^servers: 3
  hello world, I am (ann|bob|cid)
ann stops
servers: 2
  hello world, I am (bob|cid)
bob crashes; his lease takes up to 2s to end
servers: 1
  hello world, I am cid
dan starts
servers: 2
  hello world, I am (cid|dan)
all stop
$`)
	if !want.Match(got.Bytes()) {
		t.Errorf("got:\n%s", &got)
	}
}
