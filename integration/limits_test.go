package integration

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"testing"

	"github.com/mycel-rpc/mycel/framework"
	"github.com/mycel-rpc/mycel/wire/codec"
)

// A passage is a place where a message goes through; its functions send a blob there, behind later smaller ones, and
// return the error that the client gets.
type passage struct {
	name    string
	limit   func(*setup, int) // sets the limit of the receiver
	request bool
	send    func(ctx context.Context, c framework.Caller, b *Blob, later int) error
}

func limitServer(s *setup, n int) { s.server.MaxMessageBytes = n }
func limitClient(s *setup, n int) { s.client.MaxMessageBytes = n }

var passages = []passage{
	{"unary request", limitServer, true, func(ctx context.Context, c framework.Caller, b *Blob, _ int) error {
		_, err := Put.Call(ctx, c, b)
		return err
	}},
	{"unary response", limitClient, false, func(ctx context.Context, c framework.Caller, b *Blob, _ int) error {
		_, err := Grow.Call(ctx, c, &Number{len(b.Data)})
		return err
	}},
	{"server stream response", limitClient, false, func(ctx context.Context, c framework.Caller, b *Blob, later int) error {
		for _, err := range Get.Call(framework.WithMetadata(ctx, "later", fmt.Sprint(later)), c, &Number{len(b.Data)}) {
			if err != nil {
				return err
			}
		}
		return nil
	}},
	{"client stream request", limitServer, true, func(ctx context.Context, c framework.Caller, b *Blob, later int) error {
		up, err := Upload.Open(ctx, c)
		if err != nil {
			return err
		}
		defer up.Close()
		for range later {
			if err := up.Send(&Blob{}); err != nil {
				return err
			}
		}
		if err := up.Send(b); err != nil {
			return err
		}
		n, err := up.CloseAndRecv()
		if err == nil && n.N != len(b.Data) {
			return fmt.Errorf("%d bytes have arrived", n.N)
		}
		return err
	}},
	{"bidi response", limitClient, false, func(ctx context.Context, c framework.Caller, b *Blob, later int) error {
		d, err := Through.Open(ctx, c)
		if err != nil {
			return err
		}
		defer d.Close()
		for range later {
			if err := d.Send(&Blob{}); err != nil {
				return err
			}
			if _, err := d.Recv(); err != nil {
				return err
			}
		}
		if err := d.Send(b); err != nil {
			if e, ok := errors.AsType[*framework.Error](err); !ok || !e.Remote {
				return err
			} // otherwise the call has ended meanwhile, and Recv says why
		}
		_, err = d.Recv()
		return err
	}},
}

// Grow returns a blob of a size.
var Grow = framework.NewUnary[Number, Blob]("integration.v1/Grow")

func serveBlobs(r framework.Registrar) {
	Put.Handle(r, func(context.Context, *Blob) (*Blob, error) { return &Blob{}, nil })
	Grow.Handle(r, func(_ context.Context, q *Number) (*Blob, error) { return &Blob{make([]byte, q.N)}, nil })
	Get.Handle(r, func(ctx context.Context, q *Number, out framework.Sender[Blob]) error {
		later, err := strconv.Atoi(framework.MetadataFrom(ctx).Get("later"))
		if err != nil {
			return err
		}
		for range later {
			if err := out.Send(&Blob{}); err != nil {
				return err
			}
		}
		return out.Send(&Blob{make([]byte, q.N)})
	})
	Upload.Handle(r, func(_ context.Context, in iter.Seq2[*Blob, error]) (*Number, error) {
		n := new(Number)
		for b, err := range in {
			if err != nil {
				return nil, err
			}
			n.N += len(b.Data)
		}
		return n, nil
	})
	Through.Handle(r, func(_ context.Context, in iter.Seq2[*Blob, error], out framework.Sender[Blob]) error {
		for b, err := range in {
			if err != nil {
				return err
			}
			if err := out.Send(b); err != nil {
				return err
			}
		}
		return nil
	})
}

// messageBytes returns the size of a blob with n bytes of data as a message.
func messageBytes(t *testing.T, n int) int {
	t.Helper()
	c := must(codec.Of[Blob]())(t, "codec")
	return len(must(c.Append(nil, &Blob{make([]byte, n)}))(t, "Append"))
}

func TestMessagesUpToTheLimitPassAndLargerOnesAreRefused(t *testing.T) {
	for _, pass := range passages {
		for _, size := range []int{1000, 100_000} {
			for _, later := range []int{0, 2} {
				t.Run(fmt.Sprintf("%s/%d/%d messages before", pass.name, size, later), func(t *testing.T) {
					everywhere(t, func(t *testing.T, e environment) {
						limit := messageBytes(t, size)
						s := setup{serve: serveBlobs}
						pass.limit(&s, limit)
						p := e.start(t, s)
						for _, n := range []int{size + 1, size, 2 * size, size} { // the connection stays usable
							err := pass.send(t.Context(), p.client, &Blob{make([]byte, n)}, later)
							if n == size {
								if err != nil {
									t.Fatalf("message of the limit: %v", err)
								}
								continue
							}
							wantCode(t, "message above the limit", err, framework.ResourceExhausted)
							wantWords(t, "message above the limit", err, "MaxMessageBytes", fmt.Sprint(limit), fmt.Sprint(messageBytes(t, n)))
						}
					})
				})
			}
		}
	}
}

func TestTheDefaultLimitIsFourMebibytes(t *testing.T) {
	everywhere(t, func(t *testing.T, e environment) {
		p := e.start(t, setup{serve: serveBlobs})
		size := 4<<20 - (messageBytes(t, 4<<20-100) - (4<<20 - 100))
		for _, pass := range passages {
			if err := pass.send(t.Context(), p.client, &Blob{make([]byte, size)}, 0); err != nil {
				t.Errorf("%s of 4 MiB: %v", pass.name, err)
			}
			err := pass.send(t.Context(), p.client, &Blob{make([]byte, size+1)}, 0)
			wantCode(t, pass.name+" above 4 MiB", err, framework.ResourceExhausted)
			wantWords(t, pass.name+" above 4 MiB", err, "4194304", "4194305", "MaxMessageBytes")
		}
	})
}

func TestAMessageThatIsTooLargeToSendLeavesTheCallOpen(t *testing.T) {
	everywhere(t, func(t *testing.T, e environment) {
		p := e.start(t, setup{server: framework.ServerConfig{MaxMessageBytes: 1000}, serve: serveBlobs})
		if err := p.client.Connect(t.Context()); err != nil { // from now on the client knows the limit
			t.Fatal(err)
		}
		up := must(Upload.Open(t.Context(), p.client))(t, "Open")
		defer up.Close()
		wantCode(t, "Send", up.Send(&Blob{make([]byte, 2000)}), framework.ResourceExhausted)
		if err := up.Send(&Blob{make([]byte, 500)}); err != nil {
			t.Fatal(err)
		}
		if n := must(up.CloseAndRecv())(t, "CloseAndRecv"); n.N != 500 {
			t.Errorf("%d bytes have arrived", n.N)
		}
	})
}
