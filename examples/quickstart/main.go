package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"log"
	"net"
	"os"

	"github.com/mycel-rpc/mycel/framework"
)

// The contract, shared by both sides: plain structs and one declaration for each method.
type Name struct{ Name string }
type Sample struct{ Value float64 }
type Text struct{ Text string }

func (t *Text) String() string { return fmt.Sprintf("%q", t.Text) }

var (
	Hello  = framework.NewUnary[Name, Text]("greeter.v1/Hello", framework.Idempotent())
	Count  = framework.NewServerStream[Name, Text]("greeter.v1/Count")
	Upload = framework.NewClientStream[Sample, Text]("stats.v1/Upload")
	Chat   = framework.NewBidi[Name, Text]("greeter.v1/Chat", framework.WithClass(framework.ClassStream))
	Notify = framework.NewUnary[Text, Text]("client.v1/Notify") // served by the client
)

func serve(srv *framework.Server) {
	Hello.Handle(srv, func(ctx context.Context, q *Name) (*Text, error) {
		if q.Name == "" {
			return nil, framework.Errorf(framework.InvalidArgument, "name is empty")
		}
		return &Text{"hello " + q.Name}, nil
	})
	Count.Handle(srv, func(ctx context.Context, q *Name, out framework.Sender[Text]) error {
		return errors.Join(out.Send(&Text{q.Name + " 1"}), out.Send(&Text{q.Name + " 2"}))
	})
	Upload.Handle(srv, func(ctx context.Context, in iter.Seq2[*Sample, error]) (*Text, error) {
		sum := 0.0
		for sample, err := range in {
			if err != nil {
				return nil, err
			}
			sum += sample.Value
		}
		return Notify.Call(ctx, framework.PeerFrom(ctx), &Text{fmt.Sprint("sum ", sum)}) // calls the client back
	})
	Chat.Handle(srv, func(ctx context.Context, in iter.Seq2[*Name, error], out framework.Sender[Text]) error {
		for q, err := range in {
			if err == nil {
				err = out.Send(&Text{"you said " + q.Name})
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}

func call(ctx context.Context, c *framework.Client, out io.Writer) error {
	Notify.Handle(c, func(ctx context.Context, q *Text) (*Text, error) { return &Text{"noted: " + q.Text}, nil })
	text, err := Hello.Call(ctx, c, &Name{"world"})
	fmt.Fprintln(out, "unary:        ", text, err)
	_, err = Hello.Call(ctx, c, &Name{})
	fmt.Fprintln(out, "its error:    ", err, errors.Is(err, framework.InvalidArgument))
	for text, err := range Count.Call(ctx, c, &Name{"tick"}) { // break would cancel the call on the server
		fmt.Fprintln(out, "server stream:", text, err)
	}
	upload, err := Upload.Open(ctx, c)
	if err != nil {
		return err
	}
	if err := errors.Join(upload.Send(&Sample{1.5}), upload.Send(&Sample{4.5})); err != nil {
		return err
	}
	text, err = upload.CloseAndRecv()
	fmt.Fprintln(out, "client stream:", text, err)
	chat, err := Chat.Open(ctx, c)
	if err != nil {
		return err
	}
	defer chat.Close()
	err = errors.Join(chat.Send(&Name{"one"}), chat.Send(&Name{"two"}), chat.CloseSend())
	for text, err := range chat.All() {
		fmt.Fprintln(out, "bidi:         ", text, err)
	}
	return err
}

func run(ctx context.Context, out io.Writer) error {
	serverTLS, clientTLS := framework.DevTLS() // for first steps; use certificates of your own later
	srv, err := framework.NewServer(framework.ServerConfig{TLS: serverTLS})
	if err != nil {
		return err
	}
	serve(srv)
	socket, err := net.ListenPacket("udp", "127.0.0.1:0") // with a fixed address: srv.ListenAndServe(ctx, ":4433")
	if err != nil {
		return err
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ctx, socket) }()
	client, err := framework.NewClient(socket.LocalAddr().String(), framework.ClientConfig{TLS: clientTLS})
	if err != nil {
		return err
	}
	return errors.Join(call(ctx, client, out), srv.Shutdown(ctx), client.Close(), <-served)
}

func main() {
	if err := run(context.Background(), os.Stdout); err != nil {
		log.Fatal(err)
	}
}
