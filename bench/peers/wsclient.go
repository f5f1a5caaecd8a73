package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"sync"
	"time"

	"github.com/lxzan/gws"
	"github.com/tinylib/msgp/msgp"
)

var (
	errClosed        = errors.New("bench: connection closed")
	errNotApplicable = errors.New("bench: not applicable to this transport")
)

// wsClient is the caller of the WebSocket transports.
type wsClient struct {
	gws.BuiltinEventHandler
	*link
	server *wsServer
	prefix string        // of session identities, different for each connection
	done   chan struct{} // closed when the read loop has returned

	mu struct {
		sync.Mutex
		sessions map[string]*session // calls in flight; nil once the connection is closed
		last     uint64
	}
}

// session receives the answers to one call.
type session struct {
	answers chan answer   // capacity 1 for calls, whose answer thus never blocks the read loop
	gone    chan struct{} // of streams: closed when the caller does not want more
}

// answer is a frame and a reference to the memory that holds it, or an error.
type answer struct {
	suffix string
	arg    []byte
	in     *inbound
	err    error
}

const streamQueue = 256 // messages that wait for the consumer before the connection is held up

var unarySessions = sync.Pool{New: func() any { return &session{answers: make(chan answer, 1)} }}

func (s *wsServer) dial(ctx context.Context, resume bool) (caller, error) {
	scheme := "ws://"
	var conf *tls.Config
	if s.clientTLS != nil {
		scheme, conf = "wss://", s.clientTLS.Clone()
		if resume {
			conf.ClientSessionCache = s.sessions
		}
	} else if resume {
		return nil, errNotApplicable
	}
	c := &wsClient{server: s, prefix: strconv.FormatInt(time.Now().UnixNano(), 36), done: make(chan struct{})}
	c.mu.sessions = map[string]*session{}
	c.link = newLink(s.mode, c.onAnswer)
	ws, _, err := gws.NewClient(c, &gws.ClientOption{
		Addr:                scheme + s.addr,
		TlsConfig:           conf,
		ReadBufferSize:      s.readBytes,
		ReadMaxPayloadSize:  maxMessageBytes,
		WriteMaxPayloadSize: maxMessageBytes,
		PermessageDeflate:   deflateOptions(s.mode),
		NewDialer:           func() (gws.Dialer, error) { return countingDialer{ctx, s.site, &s.wire}, nil },
	})
	if err != nil {
		return nil, fmt.Errorf("bench: dial: %w", err)
	}
	c.conn = ws
	go ws.ReadLoop() // ends when close closes the connection; close waits on done
	return c, nil
}

func (c *wsClient) close() error {
	err := c.conn.NetConn().Close()
	<-c.done
	return err
}

func (c *wsClient) OnMessage(ws *gws.Conn, m *gws.Message) {
	if err := c.onMessage(m); err != nil {
		_ = ws.NetConn().Close() // ends the read loop
	}
}

func (c *wsClient) OnClose(*gws.Conn, error) {
	defer close(c.done)
	c.mu.Lock()
	sessions := c.mu.sessions
	c.mu.sessions = nil
	c.mu.Unlock()
	for _, s := range sessions {
		select {
		case s.answers <- answer{err: errClosed}:
		case <-s.gone:
		}
	}
}

// register enters a session and returns its identity.
func (c *wsClient) register(s *session) (id string, err error) {
	var buf [64]byte
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mu.sessions == nil {
		return "", errClosed
	}
	c.mu.last++
	id = string(strconv.AppendUint(append(buf[:0], c.prefix...), c.mu.last, 36))
	c.mu.sessions[id] = s
	return id, nil
}

// forget removes a session and reports whether it was still there, that is, had not been answered.
func (c *wsClient) forget(id string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, ok := c.mu.sessions[id]
	delete(c.mu.sessions, id)
	return ok
}

// onAnswer hands a frame to the caller it is for. It takes ownership of a reference to in.
func (c *wsClient) onAnswer(f frame, in *inbound) {
	id, suffix := cutMethod(f.method)
	c.mu.Lock()
	s := c.mu.sessions[string(id)]
	if suffix != next {
		delete(c.mu.sessions, string(id))
	}
	c.mu.Unlock()
	if s == nil {
		in.release()
		return
	}
	select {
	case s.answers <- answer{suffix: suffix, arg: f.arg, in: in}: // ownership of the reference passes to the caller
	case <-s.gone:
		in.release()
	}
}

// call sends q and decodes the answer into p.
func (c *wsClient) call(ctx context.Context, method string, q value, p msgp.Unmarshaler) error {
	s := unarySessions.Get().(*session)
	id, err := c.register(s)
	if err != nil {
		return err
	}
	err = c.send([]byte(id), q, func(dst []byte, q value) ([]byte, error) { return appendCall(dst, method, id, q) })
	if err != nil {
		c.forget(id)
		return err
	}
	select {
	case a := <-s.answers:
		unarySessions.Put(s)
		return a.decode(p)
	case <-ctx.Done():
		if !c.forget(id) {
			a := <-s.answers
			a.release()
		}
		return ctx.Err()
	}
}

// decode decodes the value of an answer and releases it.
func (a answer) decode(p msgp.Unmarshaler) error {
	if a.err != nil {
		return a.err
	}
	defer a.release()
	if a.suffix == reject {
		text, _, err := msgp.ReadStringBytes(a.arg)
		return errors.Join(errors.New("bench: remote: "+text), err)
	}
	_, err := p.UnmarshalMsg(a.arg)
	return err
}

func (a answer) release() {
	if a.in != nil {
		a.in.release()
	}
}

func unary[T any, P payload[T]](ctx context.Context, c *wsClient, method string, q P) (P, error) {
	p := P(new(T))
	if err := c.call(ctx, method, q, p); err != nil {
		return nil, err
	}
	return p, nil
}

func (c *wsClient) small(ctx context.Context, q *Small) (*Small, error) {
	return unary(ctx, c, "small", q)
}

func (c *wsClient) medium(ctx context.Context, q *Medium) (*Medium, error) {
	return unary(ctx, c, "medium", q)
}

func (c *wsClient) bytes(ctx context.Context, q *Bytes) (*Bytes, error) {
	return unary(ctx, c, "bytes", q)
}

// bulk is bytes: one connection has no classes.
func (c *wsClient) bulk(ctx context.Context, q *Bytes) (*Bytes, error) { return c.bytes(ctx, q) }

func (c *wsClient) ticks(ctx context.Context, q *StreamRequest) iter.Seq2[*Tick, error] {
	return consume[Tick](ctx, c, "ticks", q)
}

func (c *wsClient) blobs(ctx context.Context, q *StreamRequest) iter.Seq2[*Bytes, error] {
	return consume[Bytes](ctx, c, "blobs", q)
}

// consume calls a method that answers with a stream and yields its messages, decoded into the same memory.
// If the consumer stops early, the rest is received and dropped.
func consume[T any, P payload[T]](ctx context.Context, c *wsClient, method string, q value) iter.Seq2[P, error] {
	return func(yield func(P, error) bool) {
		s := &session{answers: make(chan answer, streamQueue), gone: make(chan struct{})}
		defer close(s.gone)
		id, err := c.register(s)
		if err == nil {
			defer c.forget(id)
			err = c.send([]byte(id), q, func(dst []byte, q value) ([]byte, error) { return appendCall(dst, method, id, q) })
		}
		if err != nil {
			yield(nil, err)
			return
		}
		for v := P(new(T)); ; {
			select {
			case a := <-s.answers:
				if a.suffix == resolve {
					a.release()
					return
				}
				if err := a.decode(v); err != nil {
					yield(nil, err)
					return
				}
				if !yield(v, nil) {
					return
				}
			case <-ctx.Done():
				yield(nil, ctx.Err())
				return
			}
		}
	}
}
