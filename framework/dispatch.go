package framework

import (
	"context"
	"crypto/tls"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/mycel-rpc/mycel/framework/internal/content"
	"github.com/mycel-rpc/mycel/largeobj"
	"github.com/mycel-rpc/mycel/streams"
)

// defaultStreamingCalls bounds the streaming calls in progress, per class.
const defaultStreamingCalls = 64 << 10

// dispatcherConfig is what a server and a client have in common in their configurations.
type dispatcherConfig struct {
	interceptors   []ServerInterceptor
	gates          Gates
	streamingCalls int
	maxMessage     int
	limits         ConnLimits
	objects        *largeobj.Store
	compression    Compression
	log            *zap.Logger
}

const (
	defaultTableBytes = 4 << 20
	minTableBytes     = 4 << 10
	maxTableBytes     = 1 << 30
)

// newDispatcher makes the serving half of a server or a client.
func newDispatcher(cfg dispatcherConfig) (*dispatcher, error) {
	if !cfg.compression.valid() {
		return nil, fmt.Errorf("framework: Compression is %d, must be CompressAdaptive or CompressOff", cfg.compression)
	}
	g, err := newGate(cfg.gates)
	if err != nil {
		return nil, err
	}
	streaming := cfg.streamingCalls
	if streaming == 0 {
		streaming = defaultStreamingCalls
	}
	limits := GateLimits{Running: streaming, Waiting: 1}
	sg, err := newGate(Gates{Stream: limits, RPC: limits, Bulk: limits})
	if err != nil {
		return nil, fmt.Errorf("framework: MaxStreamingCalls is %d, must be positive", streaming)
	}
	d := &dispatcher{
		methods: newRegistry(cfg.interceptors), gate: g, streaming: sg, base: context.Background(),
		maxMessage: cfg.maxMessage, tableBytes: max(cfg.limits.MaxTableBytes, 0), limits: cfg.limits, objects: cfg.objects, log: cfg.log,
	}
	if d.log == nil {
		d.log = zap.NewNop()
	}
	if d.maxMessage == 0 {
		d.maxMessage = streams.DefaultMaxMessageBytes
	}
	if cfg.limits.MaxTableBytes == 0 {
		d.tableBytes = defaultTableBytes
	}
	if d.tableBytes != 0 && d.tableBytes < minTableBytes || d.tableBytes > maxTableBytes {
		return nil, fmt.Errorf("framework: Limits.MaxTableBytes is %d, must be 0 for 4 MiB, negative for none, or %d to %d", d.tableBytes, minTableBytes, maxTableBytes)
	}
	if d.objects == nil {
		d.objects = largeobj.Default()
	}
	d.uncompressed.Store(cfg.compression == CompressOff)
	d.registerObjects()
	return d, nil
}

// connConfig is how the connections of a server or a client are made. wrap are the interceptors of calls to the peer.
func (d *dispatcher) connConfig(tls *tls.Config, wrap []ClientInterceptor) streams.Config {
	names, schemas := d.methods.announcement()
	return streams.Config{
		TLS:              tls,
		MaxMessageBytes:  d.maxMessage,
		MaxStreams:       d.limits.MaxStreams,
		MaxPendingBytes:  d.limits.MaxPendingBytes,
		BulkFloor:        d.limits.BulkFloor,
		HandshakeTimeout: d.limits.HandshakeTimeout,
		IdleTimeout:      d.limits.IdleTimeout,
		SilenceTimeout:   d.limits.SilenceTimeout,
		Load:             d.gate.occupancy,
		Methods:          names,
		Schemas:          schemas,
		Logger:           d.log,
		Serve:            func(in *streams.Incoming) { d.serve(in, peerOf(in.Conn())) },
		NewOwner:         func(c *streams.Conn) any { return newPeer(c, d, wrap) },
		Table:            content.Offer(d.tableBytes),
		Notices:          func(c *streams.Conn, block []byte) error { return peerOf(c).content.Handle(block) },
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
