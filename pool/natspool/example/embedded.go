package main

import (
	"errors"
	"os"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// embedded starts a server of NATS in this process.
func embedded() (url string, stop func(), err error) {
	dir, err := os.MkdirTemp("", "mycel-nats")
	if err != nil {
		return "", nil, err
	}
	engine, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: dir, NoLog: true, NoSigs: true})
	if err != nil {
		return "", nil, errors.Join(err, os.RemoveAll(dir))
	}
	engine.Start()
	stop = func() { engine.Shutdown(); engine.WaitForShutdown(); os.RemoveAll(dir) }
	if !engine.ReadyForConnections(30 * time.Second) {
		stop()
		return "", nil, errors.New("the server of NATS does not start")
	}
	return engine.ClientURL(), stop, nil
}
