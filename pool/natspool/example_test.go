package natspool_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/mycel-rpc/mycel/pool"
	"github.com/mycel-rpc/mycel/pool/natspool"
)

// exampleEngine starts a server of NATS in this process, in place of one elsewhere.
func exampleEngine() (conn *nats.Conn, stop func()) {
	dir, err := os.MkdirTemp("", "natspool")
	if err != nil {
		log.Fatal(err)
	}
	engine, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: dir, NoLog: true, NoSigs: true})
	if err != nil {
		log.Fatal(err)
	}
	engine.Start()
	if !engine.ReadyForConnections(30 * time.Second) {
		log.Fatal("the server of NATS does not start")
	}
	conn, err = nats.Connect(engine.ClientURL(), nats.MaxReconnects(-1))
	if err != nil {
		log.Fatal(err)
	}
	return conn, func() {
		conn.Close()
		engine.Shutdown()
		engine.WaitForShutdown()
		os.RemoveAll(dir)
	}
}

func Example() {
	ctx := context.Background()
	conn, stop := exampleEngine()
	defer stop()
	js, err := jetstream.New(conn)
	if err != nil {
		log.Fatal(err)
	}
	registry, err := natspool.New(js, natspool.Config{TTL: 5 * time.Second})
	if err != nil {
		log.Fatal(err)
	}
	defer registry.Close()

	// A server, before it takes calls:
	release, err := registry.Register(ctx, "greeter.v1", pool.Endpoint{Address: "10.0.0.7:4433", Zone: "north"})
	if err != nil {
		log.Fatal(err)
	}

	// A client gives the registry to framework.ClientConfig{Resolver: registry}, which follows the service like this:
	for set, err := range registry.Watch(ctx, "greeter.v1") {
		if err != nil {
			fmt.Println("not known at the moment:", err)
			continue
		}
		fmt.Println(set)
		if len(set) == 0 {
			break
		}
		if err := release(ctx); err != nil { // the server goes
			log.Fatal(err)
		}
	}
	// Output:
	// [{10.0.0.7:4433 0 0 north }]
	// []
}

func ExampleRegistry_Register() {
	ctx := context.Background()
	conn, stop := exampleEngine()
	defer stop()
	js, err := jetstream.New(conn)
	if err != nil {
		log.Fatal(err)
	}
	registry, err := natspool.New(js, natspool.Config{NoCreate: true})
	if err != nil {
		log.Fatal(err)
	}
	defer registry.Close()
	_, err = registry.Register(ctx, "greeter.v1", pool.Endpoint{Address: "10.0.0.7:4433"})
	fmt.Println(err)

	// The bucket can be made with other settings than those of the registry.
	_, err = js.CreateKeyValue(ctx, jetstream.KeyValueConfig{Bucket: "mycel", TTL: time.Minute, Storage: jetstream.MemoryStorage})
	if err != nil {
		log.Fatal(err)
	}
	release, err := registry.Register(ctx, "greeter.v1", pool.Endpoint{Address: "10.0.0.7:4433"})
	fmt.Println(err)
	fmt.Println(release(ctx))
	// Output:
	// natspool: bucket "mycel": registering "10.0.0.7:4433" of "greeter.v1": nats: bucket not found
	// <nil>
	// <nil>
}
