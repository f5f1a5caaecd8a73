package framework_test

import (
	"context"
	"fmt"

	"github.com/mycel-rpc/mycel/framework"
	"github.com/mycel-rpc/mycel/wire/compress"
)

type (
	logLines struct{ Lines []string }
	stored   struct{ Count int }
)

// What is compressed already is not worth another attempt; what may be looked at by somebody on the path is not remembered.
var (
	storeLogs  = framework.NewUnary[logLines, stored]("logs.v1/Store")
	storeVideo = framework.NewUnary[logLines, stored]("video.v1/Store", framework.Uncompressed())
	storeKeys  = framework.NewUnary[logLines, stored]("keys.v1/Store", framework.NoDedup())
)

// How messages are made smaller can be seen, and changed while everything runs.
func ExampleMessages() {
	logs := storeLogs.Requests()
	logs.Pin(compress.Zstd) // whatever is measured
	fmt.Println(logs.Stats().Codec, logs.Stats().Pinned)
	logs.Unpin()
	logs.SetDedup(false)
	fmt.Println(logs.Stats().Pinned, logs.Stats().Dedup, logs.Stats().Compresses)
	// Output:
	// zstd true
	// false false true
}

func ExampleUncompressed() {
	fmt.Println(storeVideo.Requests().Stats().Compresses, storeVideo.Requests().Stats().Dedup)
	// Output: false false
}

func ExampleNoDedup() {
	fmt.Println(storeKeys.Requests().Stats().Compresses, storeKeys.Requests().Stats().Dedup)
	// Output: true false
}

// A gateway keeps what it sends for one tenant apart from what it sends for another.
func ExampleWithPrincipal() {
	srv, err := framework.NewServer(framework.ServerConfig{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer srv.Close()
	storeLogs.Handle(srv, func(_ context.Context, q *logLines) (*stored, error) { return &stored{len(q.Lines)}, nil })
	c := framework.InProcess(srv)
	defer c.Close()

	ctx := framework.WithPrincipal(context.Background(), "tenant 42")
	got, err := storeLogs.Call(ctx, c, &logLines{[]string{"started", "ready"}})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(got.Count)
	// Output: 2
}
