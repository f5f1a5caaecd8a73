package framework

import (
	"context"
	"sync"
	"time"

	"github.com/mycel-rpc/mycel/wire/codec"
)

// HealthStatus says whether a service can be used.
type HealthStatus string

const (
	HealthServing    HealthStatus = "serving"
	HealthNotServing HealthStatus = "not serving"
	HealthUnknown    HealthStatus = "unknown" // no such service
)

// HealthRequest asks for the health of a service; the empty name stands for the whole server.
type HealthRequest struct {
	Service string `cbor:"service"`
}

// HealthResponse is the answer.
type HealthResponse struct {
	Status HealthStatus `cbor:"status"`
}

// ReflectRequest asks for the methods that a server serves.
type ReflectRequest struct {
	Prefix string `cbor:"prefix"` // of the names; empty for all
}

// ReflectResponse is the answer, in the order in which the methods were registered.
type ReflectResponse struct {
	Methods []MethodDescription `cbor:"methods"`
}

// MethodDescription describes a method. The schemas are canonical descriptions as package wire/schema parses
// them, empty for a type that travels as self-describing CBOR only.
type MethodDescription struct {
	Name           string        `cbor:"name"`
	Kind           string        `cbor:"kind"`
	Class          string        `cbor:"class"`
	Idempotent     bool          `cbor:"idempotent"`
	Timeout        time.Duration `cbor:"timeout"`
	RequestSchema  []byte        `cbor:"request_schema"`
	ResponseSchema []byte        `cbor:"response_schema"`
	RequestText    string        `cbor:"request_text"` // the schema for people
	ResponseText   string        `cbor:"response_text"`

	// Sent is how the responses are made smaller.
	Sent MessageStats `cbor:"sent"`
}

// Methods that every [Server] serves, on the control class.
var (
	// Health returns the health of a service now.
	Health = NewUnary[HealthRequest, HealthResponse]("mycel.v1/Health", WithClass(ClassControl), Idempotent(), Inline())
	// WatchHealth returns the health of a service now and whenever it changes.
	WatchHealth = NewServerStream[HealthRequest, HealthResponse]("mycel.v1/WatchHealth", WithClass(ClassControl), Idempotent())
	// Reflect describes the methods of the server and their messages.
	Reflect = NewUnary[ReflectRequest, ReflectResponse]("mycel.v1/Reflect", WithClass(ClassControl), Idempotent())
)

func (s *Server) registerBuiltins() {
	s.health.init()
	Health.Handle(s, func(_ context.Context, q *HealthRequest) (*HealthResponse, error) {
		status, _ := s.health.get(q.Service)
		return &HealthResponse{status}, nil
	})
	WatchHealth.Handle(s, s.watchHealth)
	Reflect.Handle(s, s.reflect)
}

// SetHealth sets what [Health] says of a service; the empty name stands for the whole server, which is serving from
// the start. When the server begins to shut down everything stops serving by itself.
func (s *Server) SetHealth(service string, status HealthStatus) { s.health.set(service, status) }

func (s *Server) watchHealth(ctx context.Context, q *HealthRequest, out Sender[HealthResponse]) error {
	last := HealthStatus("")
	for {
		status, changed := s.health.get(q.Service)
		if status != last {
			if err := out.Send(&HealthResponse{status}); err != nil {
				return err
			}
			last = status
		}
		select {
		case <-changed:
		case <-s.draining:
			if err := out.Send(&HealthResponse{HealthNotServing}); err != nil {
				return err
			}
			return Errorf(Unavailable, "server is shutting down")
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (s *Server) reflect(_ context.Context, q *ReflectRequest) (*ReflectResponse, error) {
	r := new(ReflectResponse)
	for _, m := range s.methods.table.Load().list {
		info := &m.sp.info
		if len(q.Prefix) > len(info.Method) || info.Method[:len(q.Prefix)] != q.Prefix {
			continue
		}
		d := MethodDescription{
			Name: info.Method, Kind: info.Kind.String(), Class: info.Class.String(),
			Idempotent: info.Idempotent, Timeout: info.Timeout,
		}
		d.RequestSchema, d.RequestText = described(m.sp.req.Codec)
		d.ResponseSchema, d.ResponseText = described(m.sp.rsp.Codec)
		d.Sent = Messages{m.sp.rsp}.Stats()
		r.Methods = append(r.Methods, d)
	}
	return r, nil
}

func described(c *codec.Codec) (canonical []byte, text string) {
	if s := c.Schema(); s != nil {
		return s.Canonical(), s.String()
	}
	return nil, c.Type().String()
}

// health is what a server says of its services.
type health struct {
	mu struct {
		sync.Mutex
		status  map[string]HealthStatus
		changed chan struct{} // closed at the next change
	}
}

func (h *health) init() {
	h.mu.status = map[string]HealthStatus{"": HealthServing}
	h.mu.changed = make(chan struct{})
}

func (h *health) set(service string, status HealthStatus) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.mu.status[service] = status
	close(h.mu.changed)
	h.mu.changed = make(chan struct{})
}

// get returns the status and a channel that is closed when any status changes.
func (h *health) get(service string) (HealthStatus, <-chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	status, ok := h.mu.status[service]
	if !ok {
		status = HealthUnknown
	}
	return status, h.mu.changed
}
