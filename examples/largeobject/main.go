package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/gob"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"os/exec"
	"time"

	"github.com/mycel-rpc/mycel/framework"
	"github.com/mycel-rpc/mycel/largeobj"
)

// Job is a request with an array that may have any size.
type Job struct {
	Name  string
	Array largeobj.Ref
}

// Result is what the server finds in it.
type Result struct {
	Count int
	Sum   float64
	PID   int
}

// Sum adds up the first number of each page of an array of float64.
var Sum = framework.NewUnary[Job, Result]("arrays.v1/Sum", framework.Idempotent())

func main() {
	log.SetFlags(0)
	mib := flag.Int64("mib", 256, "size of the largest array in `MiB`, 1 to 1024")
	serve := flag.Bool("serve", false, "be the server: the program starts itself with this")
	flag.Parse()
	run := func() error { return client(os.Stdout, *mib<<20) }
	if *serve {
		run = server
	} else if *mib < 1 || *mib > 1024 {
		log.Fatalf("-mib is %d, must be between 1 and 1024", *mib)
	}
	if err := run(); err != nil {
		log.Fatal(err)
	}
}

// server serves until its standard input ends. From there it has its certificate; where it listens it prints.
func server() error {
	var certificate [][]byte // and the key at the end
	if err := gob.NewDecoder(os.Stdin).Decode(&certificate); err != nil {
		return fmt.Errorf("reading the certificate: %w", err)
	}
	last := len(certificate) - 1
	key, err := x509.ParsePKCS8PrivateKey(certificate[last])
	if err != nil {
		return err
	}
	srv, err := framework.NewServer(framework.ServerConfig{
		TLS: &tls.Config{Certificates: []tls.Certificate{{Certificate: certificate[:last], PrivateKey: key}}},
	})
	if err != nil {
		return err
	}
	Sum.Handle(srv, func(ctx context.Context, q *Job) (*Result, error) {
		v, err := q.Array.Open(ctx) // at once on the same host; over the network when all of it is there and verified
		if err != nil {
			return nil, err
		}
		numbers := largeobj.As[float64](v.Bytes()) // in place
		r := &Result{Count: len(numbers), PID: os.Getpid()}
		for i := 0; i < len(numbers); i += 512 {
			r.Sum += numbers[i]
		}
		return r, nil // the array is given back when the call ends
	})
	socket, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(socket.LocalAddr())
	ctx, cancel := context.WithCancel(context.Background())
	go func() { // ends with the standard input; main does not wait
		_, _ = io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	return srv.Serve(ctx, socket)
}

func client(out io.Writer, largest int64) (err error) {
	serverTLS, clientTLS := framework.DevTLS()
	address, stop, err := startServer(serverTLS)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()
	for _, way := range []struct {
		name string
		conf largeobj.Config
	}{{"in shared memory", largeobj.Config{}}, {"as a stream", largeobj.Config{StreamsOnly: true}}} {
		if err := handOver(out, way.name, way.conf, address, clientTLS, largest); err != nil {
			return err
		}
	}
	return nil
}

// handOver hands arrays of growing size over one connection.
func handOver(out io.Writer, way string, conf largeobj.Config, address string, clientTLS *tls.Config, largest int64) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	store, err := largeobj.New(conf)
	if err != nil {
		return err
	}
	defer store.Close()
	c, err := framework.NewClient(address, framework.ClientConfig{TLS: clientTLS, Objects: store})
	if err != nil {
		return err
	}
	defer c.Close()
	for size := int64(1 << 20); size <= largest; size *= 16 {
		array, err := store.Create(ctx, size)
		if err != nil {
			return err
		}
		for i := range largeobj.As[float64](array.Bytes()) {
			largeobj.As[float64](array.Bytes())[i] = 1
		}
		job := &Job{Name: way, Array: array.Freeze()}
		for range 2 { // the first time the server maps the memory, and both have to connect
			start := time.Now()
			r, err := Sum.Call(ctx, c, job)
			if err != nil {
				return err
			}
			fmt.Fprintf(out, "%9d numbers %-17s to process %d: %10v, %v pages\n", r.Count, way, r.PID, time.Since(start).Round(time.Microsecond), r.Sum)
		}
		array.Release()
	}
	return nil
}

// startServer starts this program as the server and returns its address and how to end it.
func startServer(conf *tls.Config) (address string, stop func() error, err error) {
	key, err := x509.MarshalPKCS8PrivateKey(conf.Certificates[0].PrivateKey)
	if err != nil {
		return "", nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return "", nil, err
	}
	cmd := exec.Command(self, "-serve")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return "", nil, err
	}
	from, err := cmd.StdoutPipe()
	if err != nil {
		return "", nil, err
	}
	if err := cmd.Start(); err != nil {
		return "", nil, err
	}
	stop = func() error { return errors.Join(in.Close(), cmd.Wait()) }
	if err := gob.NewEncoder(in).Encode(append(conf.Certificates[0].Certificate, key)); err != nil {
		return "", nil, errors.Join(err, stop())
	}
	line, err := bufio.NewReader(from).ReadString('\n')
	if err != nil {
		return "", nil, errors.Join(fmt.Errorf("the server did not start: %w", err), stop())
	}
	return line[:len(line)-1], stop, nil
}
