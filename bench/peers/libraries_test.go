package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"testing"

	"github.com/coder/websocket"
	gorilla "github.com/gorilla/websocket"
	"github.com/lxzan/gws"
	shamaton "github.com/shamaton/msgpack/v3"
	"github.com/vmihailenco/msgpack/v5"
)

// These benchmarks chose the libraries of the WebSocket transports; doc.go has the numbers.

// BenchmarkMessagePack encodes and decodes a payload as a map with string keys.
func BenchmarkMessagePack(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 1))
	small, medium := newSmall(r), newMedium(r, 16<<10)
	var buf bytes.Buffer
	enc := msgpack.NewEncoder(&buf)
	dec := msgpack.NewDecoder(&buf)
	vmihailenco := func(v, into any) error {
		buf.Reset()
		if err := enc.Encode(v); err != nil {
			return err
		}
		return dec.Decode(into)
	}
	shamatonRoundTrip := func(v, into any) error {
		p, err := shamaton.Marshal(v)
		if err != nil {
			return err
		}
		return shamaton.Unmarshal(p, into)
	}
	var scratch []byte
	run := func(name string, roundTrip func() error) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := roundTrip(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	run("small/msgp", func() (err error) {
		if scratch, err = small.MarshalMsg(scratch[:0]); err == nil {
			_, err = new(Small).UnmarshalMsg(scratch)
		}
		return err
	})
	run("small/vmihailenco", func() error { return vmihailenco(&small, new(Small)) })
	run("small/vmihailenco-map", func() error { return vmihailenco(asMap(b, &small), new(map[string]any)) })
	run("small/shamaton", func() error { return shamatonRoundTrip(&small, new(Small)) })
	run("16KiB/msgp", func() (err error) {
		if scratch, err = medium.MarshalMsg(scratch[:0]); err == nil {
			_, err = new(Medium).UnmarshalMsg(scratch)
		}
		return err
	})
	run("16KiB/vmihailenco", func() error { return vmihailenco(&medium, new(Medium)) })
	run("16KiB/vmihailenco-map", func() error { return vmihailenco(asMap(b, &medium), new(map[string]any)) })
	run("16KiB/shamaton", func() error { return shamatonRoundTrip(&medium, new(Medium)) })
}

var asMapOf sync.Map // *Small or *Medium -> map[string]any

// asMap returns v as an application of hypha-rpc holds it: nested maps with string keys.
func asMap(tb testing.TB, v any) map[string]any {
	if m, ok := asMapOf.Load(v); ok {
		return m.(map[string]any)
	}
	p, err := msgpack.Marshal(v)
	if err != nil {
		tb.Fatal(err)
	}
	m := map[string]any{}
	if err := msgpack.Unmarshal(p, &m); err != nil {
		tb.Fatal(err)
	}
	asMapOf.Store(v, m)
	return m
}

// BenchmarkWebSocket echoes binary messages over TLS 1.3, 64 outstanding: the size of a small call, of a medium one,
// and of a part of a large one.
func BenchmarkWebSocket(b *testing.B) {
	for _, size := range []int{250, 16 << 10, chunkBytes} {
		b.Run(fmt.Sprintf("%dB/gws", size), func(b *testing.B) { benchmarkEcho(b, size, dialGWS) })
		b.Run(fmt.Sprintf("%dB/gorilla", size), func(b *testing.B) { benchmarkEcho(b, size, dialGorilla) })
		b.Run(fmt.Sprintf("%dB/coder", size), func(b *testing.B) { benchmarkEcho(b, size, dialCoder) })
	}
}

// dialEcho connects to a server of the same library that echoes every message from a goroutine of its own.
// received is called with the size of each answer.
type dialEcho func(tb testing.TB, received func(n int)) (send func([]byte) error)

func benchmarkEcho(b *testing.B, size int, dial dialEcho) {
	answered := make(chan struct{}, 64) // one place for each outstanding message
	send := dial(b, func(n int) {
		if n != size {
			b.Errorf("received %d bytes, want %d", n, size)
		}
		answered <- struct{}{}
	})
	var wg sync.WaitGroup
	b.ReportAllocs()
	b.SetBytes(int64(size))
	left := make(chan struct{}, b.N)
	for range b.N {
		left <- struct{}{}
	}
	close(left)
	b.ResetTimer()
	for range cap(answered) {
		wg.Go(func() {
			p := make([]byte, size)
			for range left {
				if err := send(p); err != nil {
					b.Error(err)
					return
				}
				<-answered
			}
		})
	}
	wg.Wait()
}

// serveTLS runs handler behind TLS and returns the address and the client's configuration.
func serveTLS(tb testing.TB, handler http.HandlerFunc) (addr string, client *tls.Config) {
	server, client, err := newTLSConfigs(loopback.address)
	if err != nil {
		tb.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	srv := &http.Server{Handler: handler}
	go func() { _ = srv.Serve(tls.NewListener(ln, server)) }() // ends when the cleanup closes srv
	tb.Cleanup(func() { _ = srv.Close() })
	return "wss://" + ln.Addr().String(), client
}

type gwsEvents struct {
	gws.BuiltinEventHandler
	onMessage func(*gws.Conn, *gws.Message)
}

func (e *gwsEvents) OnMessage(c *gws.Conn, m *gws.Message) { e.onMessage(c, m) }

func dialGWS(tb testing.TB, received func(int)) func([]byte) error {
	upgrader := gws.NewUpgrader(&gwsEvents{onMessage: func(c *gws.Conn, m *gws.Message) {
		go func() {
			defer m.Close()
			_ = c.WriteMessage(gws.OpcodeBinary, m.Bytes())
		}()
	}}, &gws.ServerOption{ReadBufferSize: 64 << 10})
	addr, conf := serveTLS(tb, func(w http.ResponseWriter, r *http.Request) {
		if c, err := upgrader.Upgrade(w, r); err == nil {
			c.ReadLoop()
		}
	})
	c, _, err := gws.NewClient(&gwsEvents{onMessage: func(_ *gws.Conn, m *gws.Message) {
		received(m.Data.Len())
		_ = m.Close()
	}}, &gws.ClientOption{Addr: addr, TlsConfig: conf, ReadBufferSize: 64 << 10})
	if err != nil {
		tb.Fatal(err)
	}
	go c.ReadLoop()
	tb.Cleanup(func() { _ = c.NetConn().Close() })
	return func(p []byte) error { return c.WriteMessage(gws.OpcodeBinary, p) }
}

var readBuffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

func dialGorilla(tb testing.TB, received func(int)) func([]byte) error {
	upgrader := gorilla.Upgrader{ReadBufferSize: 64 << 10, WriteBufferSize: 64 << 10}
	addr, conf := serveTLS(tb, func(w http.ResponseWriter, r *http.Request) {
		c, err := upgrader.Upgrade(w, r, nil)
		if err != nil {
			return
		}
		var writing sync.Mutex
		for {
			buf, err := readGorilla(c)
			if err != nil {
				return
			}
			go func() {
				defer readBuffers.Put(buf)
				writing.Lock()
				defer writing.Unlock()
				_ = c.WriteMessage(gorilla.BinaryMessage, buf.Bytes())
			}()
		}
	})
	d := gorilla.Dialer{TLSClientConfig: conf, ReadBufferSize: 64 << 10, WriteBufferSize: 64 << 10}
	c, _, err := d.Dial(addr, nil)
	if err != nil {
		tb.Fatal(err)
	}
	go func() { // ends when the cleanup closes c
		for {
			buf, err := readGorilla(c)
			if err != nil {
				return
			}
			received(buf.Len())
			readBuffers.Put(buf)
		}
	}()
	tb.Cleanup(func() { _ = c.Close() })
	var writing sync.Mutex
	return func(p []byte) error {
		writing.Lock()
		defer writing.Unlock()
		return c.WriteMessage(gorilla.BinaryMessage, p)
	}
}

func readGorilla(c *gorilla.Conn) (*bytes.Buffer, error) {
	_, r, err := c.NextReader()
	if err != nil {
		return nil, err
	}
	buf := readBuffers.Get().(*bytes.Buffer)
	buf.Reset()
	_, err = buf.ReadFrom(r)
	return buf, err
}

func dialCoder(tb testing.TB, received func(int)) func([]byte) error {
	ctx := context.Background()
	addr, conf := serveTLS(tb, func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		c.SetReadLimit(-1)
		for {
			buf, err := readCoder(ctx, c)
			if err != nil {
				return
			}
			go func() {
				defer readBuffers.Put(buf)
				_ = c.Write(ctx, websocket.MessageBinary, buf.Bytes())
			}()
		}
	})
	hc := &http.Client{Transport: &http.Transport{TLSClientConfig: conf}}
	c, _, err := websocket.Dial(ctx, addr, &websocket.DialOptions{HTTPClient: hc})
	if err != nil {
		tb.Fatal(err)
	}
	c.SetReadLimit(-1)
	go func() { // ends when the cleanup closes c
		for {
			buf, err := readCoder(ctx, c)
			if err != nil {
				return
			}
			received(buf.Len())
			readBuffers.Put(buf)
		}
	}()
	tb.Cleanup(func() { _ = c.CloseNow() })
	return func(p []byte) error { return c.Write(ctx, websocket.MessageBinary, p) }
}

func readCoder(ctx context.Context, c *websocket.Conn) (*bytes.Buffer, error) {
	_, r, err := c.Reader(ctx)
	if err != nil {
		return nil, err
	}
	buf := readBuffers.Get().(*bytes.Buffer)
	buf.Reset()
	_, err = buf.ReadFrom(r)
	return buf, err
}
