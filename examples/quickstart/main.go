// Command quickstart runs a server and a client over loopback QUIC and makes one call of each kind between them: unary,
// server streaming, client streaming, bidirectional, and the server calling the client back.
package main

import (
	"context"
	"fmt"
	"io"
	"iter"
	"net"
	"os"

	"github.com/mycel-rpc/mycel/framework"
)

// The contract, shared by both sides: plain structs and one declaration for each method.
type (
	Greeting struct{ Name string }
	Reply    struct{ Text string }
	Sample   struct{ Values []float64 }
	Summary  struct {
		Count int
		Mean  float64
	}
	Progress struct{ Values int }
)

var (
	Hello  = framework.NewUnary[Greeting, Reply]("greeter.v1/Hello", framework.Idempotent())
	Count  = framework.NewServerStream[Greeting, Reply]("greeter.v1/Count")
	Upload = framework.NewClientStream[Sample, Summary]("stats.v1/Upload")
	Chat   = framework.NewBidi[Greeting, Reply]("greeter.v1/Chat", framework.WithClass(framework.ClassStream))
	Report = framework.NewUnary[Progress, Reply]("client.v1/Report") // served by the client
)

func register(srv *framework.Server) {
	Hello.Handle(srv, func(ctx context.Context, q *Greeting) (*Reply, error) {
		if q.Name == "" {
			return nil, framework.Errorf(framework.InvalidArgument, "name is empty")
		}
		return &Reply{"hello " + q.Name}, nil
	})
	Count.Handle(srv, func(ctx context.Context, q *Greeting, out framework.Sender[Reply]) error {
		for i := range 3 {
			if err := out.Send(&Reply{fmt.Sprintf("%s %d", q.Name, i+1)}); err != nil {
				return err
			}
		}
		return nil
	})
	Upload.Handle(srv, func(ctx context.Context, in iter.Seq2[*Sample, error]) (*Summary, error) {
		var s Summary
		for sample, err := range in {
			if err != nil {
				return nil, err
			}
			for _, v := range sample.Values {
				s.Count++
				s.Mean += (v - s.Mean) / float64(s.Count)
			}
			// The server calls a method of the client, over the client's connection.
			if _, err := Report.Call(ctx, framework.PeerFrom(ctx), &Progress{s.Count}); err != nil {
				return nil, err
			}
		}
		return &s, nil
	})
	Chat.Handle(srv, func(ctx context.Context, in iter.Seq2[*Greeting, error], out framework.Sender[Reply]) error {
		for q, err := range in {
			if err != nil {
				return err
			}
			if err := out.Send(&Reply{"you said " + q.Name}); err != nil {
				return err
			}
		}
		return nil
	})
}

func main() {
	if err := run(context.Background(), os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "quickstart:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out io.Writer) error {
	serverTLS, clientTLS := framework.DevTLS() // for first steps; use certificates of your own later
	srv, err := framework.NewServer(framework.ServerConfig{TLS: serverTLS})
	if err != nil {
		return err
	}
	register(srv)
	socket, err := net.ListenPacket("udp", "127.0.0.1:0") // or srv.ListenAndServe(ctx, ":4433")
	if err != nil {
		return err
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ctx, socket) }()

	client, err := framework.NewClient(socket.LocalAddr().String(), framework.ClientConfig{TLS: clientTLS})
	if err != nil {
		return err
	}
	Report.Handle(client, func(ctx context.Context, p *Progress) (*Reply, error) {
		fmt.Fprintf(out, "server reports: %d values received\n", p.Values)
		return &Reply{"thanks"}, nil
	})
	if err := calls(ctx, client, out); err != nil {
		return err
	}
	if err := srv.Shutdown(ctx); err != nil {
		return err
	}
	if err := client.Close(); err != nil {
		return err
	}
	return <-served
}
