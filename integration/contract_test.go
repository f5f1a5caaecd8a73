package integration

import (
	"context"
	"fmt"
	"iter"

	"github.com/mycel-rpc/mycel/framework"
)

// The messages and methods that the tests share.
type (
	Text   struct{ Text string }
	Number struct{ N int }
	Blob   struct{ Data []byte }
)

var (
	Say  = framework.NewUnary[Text, Text]("integration.v1/Say")
	Tell = framework.NewServerStream[Text, Text]("integration.v1/Tell")
	Ask  = framework.NewClientStream[Text, Text]("integration.v1/Ask")
	Chat = framework.NewBidi[Text, Text]("integration.v1/Chat")

	// Now is answered by the goroutine that reads the connection.
	Now = framework.NewUnary[Text, Text]("integration.v1/Now", framework.Inline())

	Count = framework.NewServerStream[Number, Number]("integration.v1/Count")
	Sum   = framework.NewClientStream[Number, Number]("integration.v1/Sum")

	Put     = framework.NewUnary[Blob, Blob]("integration.v1/Put")
	Get     = framework.NewServerStream[Number, Blob]("integration.v1/Get")
	Upload  = framework.NewClientStream[Blob, Number]("integration.v1/Upload")
	Through = framework.NewBidi[Blob, Blob]("integration.v1/Through")
)

// serveAll serves the methods as their names say: Say and Chat echo, Count counts up to the request, and so on.
func serveAll(r framework.Registrar) {
	Say.Handle(r, func(_ context.Context, q *Text) (*Text, error) { return q, nil })
	Chat.Handle(r, func(_ context.Context, in iter.Seq2[*Text, error], out framework.Sender[Text]) error {
		for q, err := range in {
			if err != nil {
				return err
			}
			if err := out.Send(q); err != nil {
				return err
			}
		}
		return nil
	})
	Count.Handle(r, func(_ context.Context, q *Number, out framework.Sender[Number]) error {
		for i := range q.N {
			if err := out.Send(&Number{i}); err != nil {
				return err
			}
		}
		return nil
	})
	Sum.Handle(r, func(_ context.Context, in iter.Seq2[*Number, error]) (*Number, error) {
		sum := new(Number)
		for q, err := range in {
			if err != nil {
				return nil, err
			}
			sum.N += q.N
		}
		return sum, nil
	})
}

// A handler is what the handlers of all kinds have in common: a first request, a response or an error.
type handler func(ctx context.Context, q *Text) (*Text, error)

// An outcome is what the caller gets.
type outcome struct {
	response        *Text
	header, trailer framework.Metadata
	err             error
}

// A kind makes calls of one kind with one request and one response, so that tests can treat the kinds alike.
type kind struct {
	name   string
	handle func(r framework.Registrar, h handler)
	call   func(ctx context.Context, c framework.Caller, q *Text, opts ...framework.CallOption) outcome
}

var kinds = []kind{
	{"unary", func(r framework.Registrar, h handler) { Say.Handle(r, h) },
		func(ctx context.Context, c framework.Caller, q *Text, opts ...framework.CallOption) (o outcome) {
			opts = append(opts, framework.HeaderInto(&o.header), framework.TrailerInto(&o.trailer))
			o.response, o.err = Say.Call(ctx, c, q, opts...)
			return o
		}},
	{"server stream", func(r framework.Registrar, h handler) {
		Tell.Handle(r, func(ctx context.Context, q *Text, out framework.Sender[Text]) error {
			rsp, err := h(ctx, q)
			if err != nil {
				return err
			}
			return out.Send(rsp)
		})
	}, func(ctx context.Context, c framework.Caller, q *Text, opts ...framework.CallOption) (o outcome) {
		opts = append(opts, framework.HeaderInto(&o.header), framework.TrailerInto(&o.trailer))
		for rsp, err := range Tell.Call(ctx, c, q, opts...) {
			if err != nil {
				o.err = err
			} else {
				o.response = rsp
			}
		}
		return o
	}},
	{"client stream", func(r framework.Registrar, h handler) {
		Ask.Handle(r, func(ctx context.Context, in iter.Seq2[*Text, error]) (*Text, error) {
			for q, err := range in {
				if err != nil {
					return nil, err
				}
				return h(ctx, q)
			}
			return nil, errNoRequest
		})
	}, func(ctx context.Context, c framework.Caller, q *Text, opts ...framework.CallOption) (o outcome) {
		up, err := Ask.Open(ctx, c, opts...)
		if err != nil {
			return outcome{err: err}
		}
		defer up.Close()
		_ = up.Send(q) // when it fails, CloseAndRecv says why
		o.response, o.err = up.CloseAndRecv()
		o.header, o.trailer = up.Header(), up.Trailer()
		return o
	}},
	{"bidi", func(r framework.Registrar, h handler) {
		Chat.Handle(r, func(ctx context.Context, in iter.Seq2[*Text, error], out framework.Sender[Text]) error {
			for q, err := range in {
				if err != nil {
					return err
				}
				rsp, err := h(ctx, q)
				if err != nil {
					return err
				}
				return out.Send(rsp)
			}
			return errNoRequest
		})
	}, func(ctx context.Context, c framework.Caller, q *Text, opts ...framework.CallOption) (o outcome) {
		chat, err := Chat.Open(ctx, c, opts...)
		if err != nil {
			return outcome{err: err}
		}
		defer chat.Close()
		_ = chat.Send(q) // when it fails, Recv says why
		_ = chat.CloseSend()
		for rsp, err := range chat.All() {
			if err != nil {
				o.err = err
			} else {
				o.response = rsp
			}
		}
		o.header, o.trailer = chat.Header(), chat.Trailer()
		return o
	}},
}

var errNoRequest = framework.Errorf(framework.InvalidArgument, "no request has arrived")

// blocked returns a handler that reports its context, and returns when that ends or go is closed.
func blocked(started chan<- context.Context, release <-chan struct{}) handler {
	return func(ctx context.Context, q *Text) (*Text, error) {
		started <- ctx
		select {
		case <-release:
			return q, nil
		case <-ctx.Done():
			return nil, fmt.Errorf("waiting: %w", context.Cause(ctx))
		}
	}
}
