package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/mycel-rpc/mycel/framework"
)

// calls makes one call of each kind.
func calls(ctx context.Context, c framework.Caller, out io.Writer) error {
	reply, err := Hello.Call(ctx, c, &Greeting{"world"})
	if err != nil {
		return err
	}
	fmt.Fprintln(out, "unary:", reply.Text)

	if _, err := Hello.Call(ctx, c, &Greeting{}); errors.Is(err, framework.InvalidArgument) {
		fmt.Fprintln(out, "error:", err)
	}

	for reply, err := range Count.Call(ctx, c, &Greeting{"tick"}) { // break would cancel the call
		if err != nil {
			return err
		}
		fmt.Fprintln(out, "server stream:", reply.Text)
	}

	upload, err := Upload.Open(ctx, c)
	if err != nil {
		return err
	}
	defer upload.Close()
	for i := range 2 {
		if err := upload.Send(&Sample{[]float64{float64(i), float64(i + 1)}}); err != nil {
			return err
		}
	}
	summary, err := upload.CloseAndRecv()
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "client stream: %d values, mean %.1f\n", summary.Count, summary.Mean)

	chat, err := Chat.Open(ctx, c)
	if err != nil {
		return err
	}
	defer chat.Close()
	for _, text := range []string{"one", "two"} {
		if err := chat.Send(&Greeting{text}); err != nil {
			return err
		}
	}
	if err := chat.CloseSend(); err != nil {
		return err
	}
	for reply, err := range chat.All() {
		if err != nil {
			return err
		}
		fmt.Fprintln(out, "bidi:", reply.Text)
	}
	return nil
}
