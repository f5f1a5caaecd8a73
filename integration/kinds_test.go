package integration

import (
	"context"
	"fmt"
	"iter"
	"strings"
	"testing"

	"github.com/mycel-rpc/mycel/framework"
)

func TestUnaryCallsReturnTheResponseOfTheHandler(t *testing.T) {
	everywhere(t, func(t *testing.T, e environment) {
		p := e.start(t, setup{serve: serveAll})
		for _, s := range []string{"", "x", "grüße", strings.Repeat("long ", 1000)} {
			if r := must(Say.Call(t.Context(), p.client, &Text{s}))(t, "Say"); r.Text != s {
				t.Fatalf("got %q, want %q", r.Text, s)
			}
		}
	})
}

func TestServerStreamsArriveCompleteAndInOrder(t *testing.T) {
	everywhere(t, func(t *testing.T, e environment) {
		p := e.start(t, setup{serve: serveAll})
		for _, n := range []int{0, 1, 1000} {
			next := 0
			for r, err := range Count.Call(t.Context(), p.client, &Number{n}) {
				if err != nil {
					t.Fatal(err)
				}
				if r.N != next {
					t.Fatalf("got message %d, want %d", r.N, next)
				}
				next++
			}
			if next != n {
				t.Fatalf("got %d messages, want %d", next, n)
			}
		}
	})
}

func TestClientStreamsArriveComplete(t *testing.T) {
	everywhere(t, func(t *testing.T, e environment) {
		p := e.start(t, setup{serve: serveAll})
		for _, n := range []int{0, 1, 1000} {
			up := must(Sum.Open(t.Context(), p.client))(t, "Open")
			for i := range n {
				if err := up.Send(&Number{i}); err != nil {
					t.Fatal(err)
				}
			}
			if sum := must(up.CloseAndRecv())(t, "CloseAndRecv"); sum.N != n*(n-1)/2 {
				t.Fatalf("sum of %d numbers is %d", n, sum.N)
			}
		}
	})
}

func TestBidiMessagesMayAlternate(t *testing.T) {
	everywhere(t, func(t *testing.T, e environment) {
		p := e.start(t, setup{serve: serveAll})
		chat := must(Chat.Open(t.Context(), p.client))(t, "Open")
		defer chat.Close()
		for i := range 100 {
			line := fmt.Sprint(i)
			if err := chat.Send(&Text{line}); err != nil {
				t.Fatal(err)
			}
			if r := must(chat.Recv())(t, "Recv"); r.Text != line {
				t.Fatalf("got %q, want %q", r.Text, line)
			}
		}
		endWell(t, chat)
	})
}

func TestBidiSidesAreIndependent(t *testing.T) {
	everywhere(t, func(t *testing.T, e environment) {
		p := e.start(t, setup{serve: serveAll})
		chat := must(Chat.Open(t.Context(), p.client))(t, "Open")
		defer chat.Close()
		const n = 5000
		sent := make(chan error, 1)
		go func() {
			for i := range n {
				if err := chat.Send(&Text{fmt.Sprint(i)}); err != nil {
					sent <- err
					return
				}
			}
			sent <- chat.CloseSend()
		}()
		got := 0
		for r, err := range chat.All() {
			if err != nil {
				t.Fatal(err)
			}
			if r.Text != fmt.Sprint(got) {
				t.Fatalf("got %q, want %d", r.Text, got)
			}
			got++
		}
		if err := <-sent; err != nil || got != n {
			t.Fatalf("got %d messages of %d; sending: %v", got, n, err)
		}
	})
}

// endWell ends a call and checks that no further message and no error comes.
func endWell[Req, Resp any](t *testing.T, b *framework.BidiCall[Req, Resp]) {
	t.Helper()
	if err := b.CloseSend(); err != nil {
		t.Fatal(err)
	}
	for r, err := range b.All() {
		t.Fatalf("after the end: %v, %v", r, err)
	}
}

func TestHalfClosedStreamsGoOnInTheOtherDirection(t *testing.T) {
	everywhere(t, func(t *testing.T, e environment) {
		ended := make(chan struct{})
		p := e.start(t, setup{serve: func(r framework.Registrar) {
			Chat.Handle(r, func(_ context.Context, in iter.Seq2[*Text, error], out framework.Sender[Text]) error {
				for _, err := range in {
					if err != nil {
						return err
					}
				}
				close(ended) // the client has closed its side
				for i := range 100 {
					if err := out.Send(&Text{fmt.Sprint(i)}); err != nil {
						return err
					}
				}
				return nil
			})
		}})
		chat := must(Chat.Open(t.Context(), p.client))(t, "Open")
		defer chat.Close()
		if err := chat.CloseSend(); err != nil {
			t.Fatal(err)
		}
		<-ended
		if err := chat.Send(&Text{}); err == nil {
			t.Error("Send after CloseSend did not fail")
		}
		n := 0
		for _, err := range chat.All() {
			if err != nil {
				t.Fatal(err)
			}
			n++
		}
		if n != 100 {
			t.Fatalf("got %d messages after CloseSend, want 100", n)
		}
	})
}

func TestEveryKindWorksInEveryClassAndSize(t *testing.T) {
	everyKind(t, func(t *testing.T, e environment, k kind) {
		p := e.start(t, setup{serve: func(r framework.Registrar) {
			k.handle(r, func(_ context.Context, q *Text) (*Text, error) { return q, nil })
		}})
		for _, class := range []framework.Class{framework.ClassControl, framework.ClassStream, framework.ClassRPC, framework.ClassBulk} {
			for _, size := range []int{0, 100, 16 << 10, 100 << 10, 300 << 10} {
				q := &Text{strings.Repeat("x", size)}
				o := k.call(t.Context(), p.client, q, framework.WithClass(class))
				if o.err != nil {
					t.Fatalf("class %v, %d bytes: %v", class, size, o.err)
				}
				if o.response.Text != q.Text {
					t.Fatalf("class %v, %d bytes: got %d bytes", class, size, len(o.response.Text))
				}
			}
		}
	})
}

func TestCallsOfMethodsThatAreNotServedAreUnimplemented(t *testing.T) {
	everyKind(t, func(t *testing.T, e environment, k kind) {
		p := e.start(t, setup{})
		o := k.call(t.Context(), p.client, &Text{})
		wantCode(t, "unknown method", o.err, framework.Unimplemented)
		wantUnprocessed(t, "unknown method", o.err)
		wantWords(t, "unknown method", o.err, "integration.v1/")
	})
}

func TestMethodsOfAnotherKindAreUnimplemented(t *testing.T) {
	everywhere(t, func(t *testing.T, e environment) {
		p := e.start(t, setup{serve: serveAll})
		streaming := framework.NewServerStream[Text, Text](Say.Name())
		for _, err := range streaming.Call(t.Context(), p.client, &Text{}) {
			wantCode(t, "call of the wrong kind", err, framework.Unimplemented)
			wantUnprocessed(t, "call of the wrong kind", err)
			wantWords(t, "call of the wrong kind", err, Say.Name(), "unary", "server stream")
		}
	})
}

func TestHandlersWithoutAResponseAreAnInternalError(t *testing.T) {
	everywhere(t, func(t *testing.T, e environment) {
		p := e.start(t, setup{serve: func(r framework.Registrar) {
			Say.Handle(r, func(context.Context, *Text) (*Text, error) { return nil, nil })
			Ask.Handle(r, func(context.Context, iter.Seq2[*Text, error]) (*Text, error) { return nil, nil })
		}})
		_, err := Say.Call(t.Context(), p.client, &Text{})
		wantCode(t, "unary", err, framework.Internal)
		up := must(Ask.Open(t.Context(), p.client))(t, "Open")
		_, err = up.CloseAndRecv()
		wantCode(t, "client stream", err, framework.Internal)
	})
}
