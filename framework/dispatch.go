package framework

import (
	"context"
	"crypto/tls"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/mycel-rpc/mycel/largeobj"
	"github.com/mycel-rpc/mycel/streams"
)

// defaultStreamingCalls bounds the streaming calls in progress, per class.
const defaultStreamingCalls = 64 << 10

// newDispatcher makes the serving half of a server or a client.
func newDispatcher(wrap []ServerInterceptor, gates Gates, streaming, maxMessage int, objects *largeobj.Store, compression Compression, log *zap.Logger) (*dispatcher, error) {
	if compression != CompressAdaptive && compression != CompressOff {
		return nil, fmt.Errorf("framework: Compression is %d, must be CompressAdaptive or CompressOff", compression)
	}
	g, err := newGate(gates)
	if err != nil {
		return nil, err
	}
	if streaming == 0 {
		streaming = defaultStreamingCalls
	}
	limits := GateLimits{Running: streaming, Waiting: 1}
	sg, err := newGate(Gates{Stream: limits, RPC: limits, Bulk: limits})
	if err != nil {
		return nil, fmt.Errorf("framework: MaxStreamingCalls is %d, must be positive", streaming)
	}
	if log == nil {
		log = zap.NewNop()
	}
	if maxMessage == 0 {
		maxMessage = streams.DefaultMaxMessageBytes
	}
	if objects == nil {
		objects = largeobj.Default()
	}
	d := &dispatcher{
		methods: newRegistry(wrap), gate: g, streaming: sg, base: context.Background(), maxMessage: maxMessage, objects: objects, compression: compression, log: log,
	}
	d.registerObjects()
	return d, nil
}

// connConfig is how the connections of a server or a client are made. wrap are the interceptors of calls to the peer.
func (d *dispatcher) connConfig(tls *tls.Config, maxMessage int, limits ConnLimits, wrap []ClientInterceptor) streams.Config {
	names, schemas := d.methods.announcement()
	return streams.Config{
		TLS:              tls,
		MaxMessageBytes:  maxMessage,
		MaxStreams:       limits.MaxStreams,
		MaxPendingBytes:  limits.MaxPendingBytes,
		HandshakeTimeout: limits.HandshakeTimeout,
		IdleTimeout:      limits.IdleTimeout,
		SilenceTimeout:   limits.SilenceTimeout,
		Load:             d.gate.occupancy,
		Methods:          names,
		Schemas:          schemas,
		Logger:           d.log,
		Serve:            func(in *streams.Incoming) { d.serve(in, in.Conn().Owner().(*Peer)) },
		NewOwner: func(c *streams.Conn) any {
			p := newPeer(c, d.objects, d.maxMessage, wrap)
			p.uncompressed = c.RemoteAddr().Network() == "pipe" || d.compression == CompressOff
			return p
		},
	}
}

func (d *dispatcher) register(sp *spec, run ServerFunc) { d.methods.register(sp, run) }

// stop refuses what waits at the gates.
func (d *dispatcher) stop() {
	d.gate.close()
	d.streaming.close()
}

// waitHandlers waits for the handlers that still run, which have been canceled.
func (d *dispatcher) waitHandlers(grace time.Duration) error {
	ctx, cancel := context.WithTimeoutCause(context.Background(), grace, fmt.Errorf("not after %v", grace))
	defer cancel()
	for _, g := range []*gate{d.gate, d.streaming} {
		if err := g.wait(ctx); err != nil {
			return fmt.Errorf("framework: close: handlers did not return although canceled: %w", err)
		}
	}
	return nil
}
