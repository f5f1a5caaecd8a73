package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"os"

	"github.com/mycel-rpc/mycel/framework"
)

type Name struct{ Name string }
type Text struct{ Text string }

var Hello = framework.NewUnary[Name, Text]("greeter.v1/Hello", framework.Idempotent())

// A step is what happens when there are so many servers.
type step struct {
	servers int
	what    string
	do      func() error
}

func run(ctx context.Context, out io.Writer, url string) error {
	serverTLS, clientTLS := framework.DevTLS()
	greeters := map[string]*greeter{}
	add := func(name string) (err error) {
		greeters[name], err = start(ctx, url, name, framework.ServerConfig{TLS: serverTLS})
		return err
	}
	if err := errors.Join(add("ann"), add("bob"), add("cid")); err != nil {
		return err
	}
	registry, leave, err := join(url)
	if err != nil {
		return err
	}
	defer leave()
	client, err := framework.NewClient("greeter.v1", framework.ClientConfig{TLS: clientTLS, Resolver: registry})
	if err != nil {
		return err
	}
	defer client.Close()
	next := []step{
		{3, "ann stops", func() error { return greeters["ann"].stop(ctx) }},
		{2, "bob crashes; his lease takes up to 2s to end", func() error { greeters["bob"].crash(); return nil }},
		{1, "dan starts", func() error { return add("dan") }},
		{2, "all stop", func() error { return errors.Join(greeters["cid"].stop(ctx), greeters["dan"].stop(ctx)) }},
	}
	for set, err := range registry.Watch(ctx, "greeter.v1") {
		if err != nil {
			fmt.Fprintln(out, "for the moment:", err)
			continue
		}
		fmt.Fprintln(out, "servers:", len(set))
		if len(set) != next[0].servers {
			continue
		}
		text, err := Hello.Call(ctx, client, &Name{"world"})
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "  %s\n%s\n", text.Text, next[0].what)
		if err := next[0].do(); err != nil {
			return err
		}
		if next = next[1:]; len(next) == 0 {
			return nil
		}
	}
	return ctx.Err()
}

func main() {
	url := flag.String("nats", "", "`URL` of NATS; empty starts a server of it")
	flag.Parse()
	if *url == "" {
		local, stop, err := embedded()
		if err != nil {
			log.Fatal(err)
		}
		defer stop()
		*url = local
	}
	if err := run(context.Background(), os.Stdout, *url); err != nil {
		log.Print(err)
	}
}
