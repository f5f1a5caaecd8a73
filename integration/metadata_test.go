package integration

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"strings"
	"testing"

	"github.com/mycel-rpc/mycel/framework"
	"github.com/mycel-rpc/mycel/wire"
)

// samples is metadata that must survive: duplicates in their order, binary values, 60 KB.
func samples() (md framework.Metadata) {
	md.Add("b", "1")
	md.Add("a", "2")
	md.Add("b", "3")
	md.Add("b", "1")
	md.Add("empty", "")
	md.Add("binary", "\x00\xff\n\xfe"+string(rune(0x1F344)))
	md.Add("x-long.name_1", strings.Repeat("v", 60_000))
	return md
}

func pairs(md framework.Metadata) (list []string) {
	for k, v := range md.All() {
		list = append(list, k+"="+v)
	}
	return list
}

func withAll(ctx context.Context, md framework.Metadata) context.Context {
	for k, v := range md.All() {
		ctx = framework.WithMetadata(ctx, k, v)
	}
	return ctx
}

func wantPairs(t *testing.T, what string, got, want framework.Metadata) {
	t.Helper()
	if !slices.Equal(pairs(got), pairs(want)) {
		t.Fatalf("%s: got %d pairs, want %d in their order: %.200q", what, got.Len(), want.Len(), pairs(got))
	}
}

func TestMetadataArrivesAsItWasSent(t *testing.T) {
	everyKind(t, func(t *testing.T, e environment, k kind) {
		got := make(chan framework.Metadata, 1) // capacity 1: one call at a time
		p := e.start(t, setup{serve: func(r framework.Registrar) {
			k.handle(r, func(ctx context.Context, q *Text) (*Text, error) {
				got <- framework.MetadataFrom(ctx)
				return q, nil
			})
		}})
		for _, md := range []framework.Metadata{{}, samples()} {
			if o := k.call(withAll(t.Context(), md), p.client, &Text{}); o.err != nil {
				t.Fatal(o.err)
			}
			wantPairs(t, "request metadata", <-got, md)
		}
	})
}

func TestResponsesCarryHeadersAndTrailers(t *testing.T) {
	everyKind(t, func(t *testing.T, e environment, k kind) {
		p := e.start(t, setup{serve: func(r framework.Registrar) {
			k.handle(r, func(ctx context.Context, q *Text) (*Text, error) {
				for key, v := range samples().All() {
					if err := framework.SetHeader(ctx, key, v); err != nil {
						return nil, err
					}
					if err := framework.SetTrailer(ctx, key, v+"."); err != nil {
						return nil, err
					}
				}
				if q.Text == "fail" {
					return nil, framework.Errorf(framework.NotFound, "as asked")
				}
				return q, nil
			})
		}})
		var trailer framework.Metadata
		for key, v := range samples().All() {
			trailer.Add(key, v+".")
		}
		for _, c := range []struct {
			text string
			code framework.Code
		}{{"", framework.OK}, {"fail", framework.NotFound}, {strings.Repeat("long", 10_000), framework.OK}} {
			o := k.call(t.Context(), p.client, &Text{c.text})
			wantCode(t, "call", o.err, c.code)
			wantPairs(t, "headers", o.header, samples())
			wantPairs(t, "trailers", o.trailer, trailer)
		}
	})
}

func TestHeadersArriveWithTheFirstMessage(t *testing.T) {
	everywhere(t, func(t *testing.T, e environment) {
		second := make(chan error, 1)
		p := e.start(t, setup{serve: func(r framework.Registrar) {
			Chat.Handle(r, func(ctx context.Context, in iter.Seq2[*Text, error], out framework.Sender[Text]) error {
				if err := framework.SetHeader(ctx, "early", "yes"); err != nil {
					return err
				}
				for q, err := range in {
					if err != nil {
						return err
					}
					if err := out.Send(q); err != nil {
						return err
					}
					second <- framework.SetHeader(ctx, "late", "no")
				}
				return nil
			})
		}})
		chat := must(Chat.Open(t.Context(), p.client))(t, "Open")
		defer chat.Close()
		if err := chat.Send(&Text{}); err != nil {
			t.Fatal(err)
		}
		must(chat.Recv())(t, "Recv")
		if got := chat.Header().Get("Early"); got != "yes" {
			t.Errorf("header is %q while the call goes on", got)
		}
		wantCode(t, "SetHeader after the first message", <-second, framework.FailedPrecondition)
		endWell(t, chat)
		if got := chat.Header().Len(); got != 1 {
			t.Errorf("%d headers", got)
		}
	})
}

func TestMetadataThatCannotBeSentIsRefusedHere(t *testing.T) {
	for _, c := range []struct {
		name       string
		key, value string
		words      []string
	}{
		{"too large", "k", strings.Repeat("v", wire.MaxMetadataBytes), []string{"metadata", "65536"}},
		{"a key that is too long", strings.Repeat("k", wire.MaxMetadataKeyBytes+1), "v", []string{"257", "256"}},
		{"an empty key", "", "v", []string{"key"}},
		{"a key with other characters", "no spaces", "v", []string{"no spaces"}},
		{"a reserved key", "Mycel-Trace", "v", []string{"mycel-", "reserved"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			everyKind(t, func(t *testing.T, e environment, k kind) {
				p := e.start(t, setup{serve: func(r framework.Registrar) {
					k.handle(r, func(ctx context.Context, q *Text) (*Text, error) {
						if framework.MetadataFrom(ctx).Len() > 0 {
							t.Error("the handler has run")
						}
						return q, framework.SetTrailer(ctx, c.key, c.value)
					})
				}})
				o := k.call(framework.WithMetadata(t.Context(), c.key, c.value), p.client, &Text{})
				wantCode(t, "call", o.err, framework.InvalidArgument)
				wantUnprocessed(t, "call", o.err)
				wantWords(t, "call", o.err, c.words...)
				if e, ok := o.err.(*framework.Error); !ok || e.Remote {
					t.Errorf("%v is not an error of this side", o.err)
				}
				o = k.call(t.Context(), p.client, &Text{})
				wantCode(t, "trailer", o.err, framework.InvalidArgument)
				wantWords(t, "trailer", o.err, c.words...)
			})
		})
	}
}

func TestMetadataIsNotPassedOn(t *testing.T) {
	everyKind(t, func(t *testing.T, e environment, k kind) {
		behind := e.start(t, setup{serve: func(r framework.Registrar) {
			k.handle(r, func(ctx context.Context, _ *Text) (*Text, error) {
				return &Text{fmt.Sprint(pairs(framework.MetadataFrom(ctx)))}, nil
			})
		}})
		front := e.start(t, setup{serve: func(r framework.Registrar) {
			k.handle(r, func(ctx context.Context, q *Text) (*Text, error) {
				o := k.call(framework.WithMetadata(ctx, "own", "1"), behind.client, q)
				return o.response, o.err
			})
		}})
		o := k.call(framework.WithMetadata(t.Context(), "secret", "2"), front.client, &Text{})
		if o.err != nil || o.response.Text != "[own=1]" {
			t.Fatalf("behind the second server: %v, %v", o.response, o.err)
		}
	})
}
