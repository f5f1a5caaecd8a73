package framework_test

import (
	"context"
	"runtime"
	"testing"

	"github.com/mycel-rpc/mycel/framework"
)

var quits = framework.NewUnary[HelloReq, HelloResp]("greeter.v1/Quits", framework.Inline())

func TestAnInlineHandlerThatEndsItsGoroutineEndsTheConnection(t *testing.T) {
	srv := newGreeter(t)
	quits.Handle(srv, func(context.Context, *HelloReq) (*HelloResp, error) {
		runtime.Goexit()
		return nil, nil
	})
	c := framework.InProcess(srv)
	defer c.Close()
	if _, err := quits.Call(t.Context(), c, &HelloReq{}); err == nil {
		t.Error("the call of a handler that never returned succeeded")
	}
	// What follows is served over a new connection.
	for {
		_, err := Hello.Call(t.Context(), c, &HelloReq{"x"})
		if err == nil {
			return
		}
		if framework.CodeOf(err) != framework.Unavailable {
			t.Fatal(err)
		}
	}
}
