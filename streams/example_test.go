package streams_test

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/mycel-rpc/mycel/streams"
	"github.com/mycel-rpc/mycel/wire"
)

// request returns the payload of a request frame: the header and the first message.
func request(method, message string) *wire.Buffer {
	b := wire.NewBuffer(64)
	b.B = wire.AppendRequest(b.B, &wire.Request{Name: []byte(method)})
	b.B = append(b.B, message...)
	return b
}

// body returns what follows the header of a response.
func body(payload *wire.Buffer) (string, error) {
	var r wire.Response
	n, err := wire.ParseResponse(payload.B, &r)
	return string(payload.B[n:]), err
}

// greet answers a unary call with a greeting.
func greet(in *streams.Incoming) {
	defer in.Payload.Release()
	var q wire.Request
	n, err := wire.ParseRequest(in.Payload.B, &q)
	if err != nil {
		in.Refuse(wire.InvalidArgument, err.Error())
		return
	}
	out := wire.NewBuffer(64)
	out.B = wire.AppendResponse(out.B, &wire.Response{})
	out.B = fmt.Appendf(out.B, "Hello, %s!", in.Payload.B[n:])
	in.Respond(out)
}

// A unary call over a connection in memory; Dial and Listen make the same over UDP.
func ExamplePipe() {
	client, server, err := streams.Pipe(streams.Config{}, streams.Config{
		Serve: func(in *streams.Incoming) { go greet(in) },
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer server.Close()
	defer client.Close()

	call, err := client.Start(context.Background(), wire.ClassRPC, wire.Unary, true, request("greeter.v1/Hello", "Ada"))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer call.Close(wire.Cancel{Code: wire.Canceled})
	_, response, err := call.Recv()
	if err != nil {
		fmt.Println(err)
		return
	}
	defer response.Release()
	fmt.Println(body(response))
	// Output: Hello, Ada! <nil>
}

// The messages of a streaming call are counted by its callee.
func ExampleCall_Send() {
	client, server, err := streams.Pipe(streams.Config{}, streams.Config{
		Serve: func(in *streams.Incoming) {
			go func() {
				in.Payload.Release()
				n := 0
				for {
					message, err := in.Recv()
					if err == io.EOF {
						break
					}
					if err != nil {
						in.Refuse(wire.Internal, err.Error())
						return
					}
					message.Release()
					n++
				}
				out := wire.NewBuffer(64)
				out.B = wire.AppendResponse(out.B, &wire.Response{})
				out.B = fmt.Append(out.B, n, " messages")
				in.Respond(out)
			}()
		},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer server.Close()
	defer client.Close()

	call, err := client.Start(context.Background(), wire.ClassStream, wire.ClientStream, false, request("log.v1/Append", ""))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer call.Close(wire.Cancel{Code: wire.Canceled})
	for range 3 {
		if err := call.Send([]byte{0, 0x61, 'x'}); err != nil { // the schema reference of generic CBOR, then "x"
			fmt.Println(err)
			return
		}
	}
	call.CloseSend()
	_, response, err := call.Recv()
	if err != nil {
		fmt.Println(err)
		return
	}
	defer response.Release()
	fmt.Println(body(response))
	// Output: 3 messages <nil>
}

// A server that leaves waits until its peer has the results of all calls.
func ExampleConn_Drain() {
	client, server, err := streams.Pipe(streams.Config{}, streams.Config{
		Serve: func(in *streams.Incoming) { go greet(in) },
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()
	if err := server.Drain(context.Background(), "maintenance"); err != nil {
		fmt.Println(err)
		return
	}
	<-client.Done()
	reason, _ := errors.AsType[*streams.ConnError](client.Err())
	fmt.Println(reason.Remote, reason.Code == wire.CloseDrained, reason.Text)
	// Output: true true maintenance
}
