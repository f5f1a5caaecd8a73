package framework_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"testing"

	"go.uber.org/goleak"

	"github.com/mycel-rpc/mycel/framework"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type HelloReq struct{ Name string }
type HelloResp struct{ Text string }
type Tick struct{ N int }

var (
	Hello = framework.NewUnary[HelloReq, HelloResp]("greeter.v1/Hello", framework.Idempotent())
	Ticks = framework.NewServerStream[HelloReq, Tick]("greeter.v1/Ticks")
	Sum   = framework.NewClientStream[Tick, Tick]("greeter.v1/Sum")
	Chat  = framework.NewBidi[HelloReq, HelloResp]("greeter.v1/Chat", framework.WithClass(framework.ClassStream))
)

func newGreeter(t testing.TB) *framework.Server {
	srv, err := framework.NewServer(framework.ServerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	Hello.Handle(srv, func(_ context.Context, q *HelloReq) (*HelloResp, error) {
		if q.Name == "" {
			return nil, framework.Errorf(framework.InvalidArgument, "name is empty")
		}
		return &HelloResp{"hi " + q.Name}, nil
	})
	Ticks.Handle(srv, func(_ context.Context, _ *HelloReq, out framework.Sender[Tick]) error {
		for i := range 3 {
			if err := out.Send(&Tick{i}); err != nil {
				return err
			}
		}
		return nil
	})
	Sum.Handle(srv, func(_ context.Context, in iter.Seq2[*Tick, error]) (*Tick, error) {
		var sum Tick
		for t, err := range in {
			if err != nil {
				return nil, err
			}
			sum.N += t.N
		}
		return &sum, nil
	})
	Chat.Handle(srv, func(_ context.Context, in iter.Seq2[*HelloReq, error], out framework.Sender[HelloResp]) error {
		for q, err := range in {
			if err != nil {
				return err
			}
			if err := out.Send(&HelloResp{"hi " + q.Name}); err != nil {
				return err
			}
		}
		return nil
	})
	t.Cleanup(func() {
		if err := srv.Close(); err != nil {
			t.Error(err)
		}
	})
	return srv
}

func TestFourKindsInProcess(t *testing.T) {
	c := framework.InProcess(newGreeter(t))
	defer c.Close()
	ctx := t.Context()
	r, err := Hello.Call(ctx, c, &HelloReq{"x"})
	if err != nil || r.Text != "hi x" {
		t.Fatal(r, err)
	}
	if _, err := Hello.Call(ctx, c, &HelloReq{}); !errors.Is(err, framework.InvalidArgument) {
		t.Fatal(err)
	}
	var got []int
	for tick, err := range Ticks.Call(ctx, c, &HelloReq{}) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, tick.N)
	}
	if fmt.Sprint(got) != "[0 1 2]" {
		t.Fatal(got)
	}
	up, err := Sum.Open(ctx, c)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		if err := up.Send(&Tick{i}); err != nil {
			t.Fatal(err)
		}
	}
	if sum, err := up.CloseAndRecv(); err != nil || sum.N != 10 {
		t.Fatal(sum, err)
	}
	chat, err := Chat.Open(ctx, c)
	if err != nil {
		t.Fatal(err)
	}
	defer chat.Close()
	for _, n := range []string{"a", "b"} {
		if err := chat.Send(&HelloReq{n}); err != nil {
			t.Fatal(err)
		}
		if r, err := chat.Recv(); err != nil || r.Text != "hi "+n {
			t.Fatal(r, err)
		}
	}
	if err := chat.CloseSend(); err != nil {
		t.Fatal(err)
	}
	for r, err := range chat.All() {
		t.Fatal(r, err)
	}
}
