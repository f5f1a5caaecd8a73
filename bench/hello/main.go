package main

import (
	"context"
	"log"

	"github.com/mycel-rpc/mycel/framework"
)

type request struct{ Name string }

type response struct{ Text string }

var hello = framework.NewUnary[request, response]("greeter.v1/Hello")

func main() {
	serverTLS, _ := framework.DevTLS()
	srv, err := framework.NewServer(framework.ServerConfig{TLS: serverTLS})
	if err != nil {
		log.Fatal(err)
	}
	hello.Handle(srv, func(_ context.Context, q *request) (*response, error) {
		return &response{Text: "Hello, " + q.Name}, nil
	})
	log.Fatal(srv.ListenAndServe(context.Background(), "127.0.0.1:4433"))
}
