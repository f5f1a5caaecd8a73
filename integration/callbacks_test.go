package integration

import (
	"context"
	"fmt"
	"iter"
	"testing"

	"github.com/mycel-rpc/mycel/framework"
)

// Methods that both sides serve, to call each other back.
var (
	Ahead = framework.NewUnary[Text, Text]("integration.v1/Ahead")
	Down  = framework.NewUnary[Number, Number]("integration.v1/Down")
	Dive  = framework.NewBidi[Number, Number]("integration.v1/Dive")
)

const depth = 100

func TestHundredNestedUnaryCallbacks(t *testing.T) {
	everywhere(t, func(t *testing.T, e environment) {
		down := func(ctx context.Context, q *Number) (*Number, error) {
			if q.N == depth {
				return &Number{1}, nil
			}
			r, err := Down.Call(ctx, framework.PeerFrom(ctx), &Number{q.N + 1})
			if err != nil {
				return nil, framework.Errorf(framework.Aborted, "level %d: %w", q.N, err)
			}
			return &Number{r.N + 1}, nil
		}
		serve := func(r framework.Registrar) { Down.Handle(r, down) }
		p := e.start(t, setup{serve: serve, back: serve})
		for range 3 {
			if r := must(Down.Call(t.Context(), p.client, &Number{1}))(t, "Down"); r.N != depth {
				t.Fatalf("%d levels", r.N)
			}
		}
	})
}

func TestHundredNestedStreamingCallbacks(t *testing.T) {
	everywhere(t, func(t *testing.T, e environment) {
		dive := func(ctx context.Context, in iter.Seq2[*Number, error], out framework.Sender[Number]) error {
			var below *framework.BidiCall[Number, Number]
			for q, err := range in {
				if err != nil {
					return err
				}
				if q.N == depth {
					if err := out.Send(&Number{1}); err != nil {
						return err
					}
					continue
				}
				if below == nil { // open as long as this level is
					if below, err = Dive.Open(ctx, framework.PeerFrom(ctx)); err != nil {
						return err
					}
					defer below.Close()
				}
				if err := below.Send(&Number{q.N + 1}); err != nil {
					return err
				}
				r, err := below.Recv()
				if err != nil {
					return framework.Errorf(framework.Aborted, "level %d: %w", q.N, err)
				}
				if err := out.Send(&Number{r.N + 1}); err != nil {
					return err
				}
			}
			return nil
		}
		serve := func(r framework.Registrar) { Dive.Handle(r, dive) }
		p := e.start(t, setup{serve: serve, back: serve})
		d := must(Dive.Open(t.Context(), p.client))(t, "Open")
		defer d.Close()
		for range 5 {
			if err := d.Send(&Number{1}); err != nil {
				t.Fatal(err)
			}
			if r := must(d.Recv())(t, "Recv"); r.N != depth {
				t.Fatalf("%d levels", r.N)
			}
		}
		endWell(t, d)
	})
}

func TestServersCallTheirClientOutsideOfHandlers(t *testing.T) {
	everyKind(t, func(t *testing.T, e environment, k kind) {
		peers := make(chan *framework.Peer, 1)
		p := e.start(t, setup{
			serve: func(r framework.Registrar) {
				Ahead.Handle(r, func(ctx context.Context, q *Text) (*Text, error) {
					peers <- framework.PeerFrom(ctx)
					return q, nil
				})
			},
			back: func(r framework.Registrar) {
				k.handle(r, func(ctx context.Context, q *Text) (*Text, error) {
					if q.Text == "fail" {
						return nil, framework.Errorf(framework.NotFound, "not on this client").WithDetail(Hint{"h"})
					}
					return &Text{q.Text + framework.MetadataFrom(ctx).Get("k")}, framework.SetTrailer(ctx, "t", "u")
				})
			},
		})
		must(Ahead.Call(t.Context(), p.client, &Text{}))(t, "Ahead")
		peer := <-peers
		for i := range 10 {
			o := k.call(framework.WithMetadata(t.Context(), "k", "v"), peer, &Text{fmt.Sprint(i)})
			if o.err != nil || o.response.Text != fmt.Sprint(i)+"v" || o.trailer.Get("t") != "u" {
				t.Fatalf("got %+v", o)
			}
		}
		err := k.call(t.Context(), peer, &Text{"fail"}).err
		wantCode(t, "call", err, framework.NotFound)
		if _, ok := framework.Detail[Hint](err); !ok {
			t.Error("the detail is lost")
		}
		if err := p.client.Close(); err != nil {
			t.Fatal(err)
		}
		<-peer.Done()
		wantCode(t, "call to a client that is gone", k.call(t.Context(), peer, &Text{}).err, framework.Unavailable)
	})
}
