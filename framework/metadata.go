package framework

import (
	"context"
	"iter"
	"slices"
	"strings"

	"github.com/mycel-rpc/mycel/wire"
)

// Metadata is a list of keys and values that travels with a call beside its messages: credentials, tracing,
// routing. A key may have several values, and their order is kept. Keys are compared without regard to case and
// kept in lower case; values are any bytes.
//
// What can be sent: keys of 1 to 256 characters out of a to z, 0 to 9, '-', '_' and '.', not beginning with
// "mycel-" (reserved for the framework); at most 1024 pairs and 64 KiB in the encoding of the wire per call and
// direction. A call with other metadata fails with [InvalidArgument] before anything is sent.
//
// The zero value is empty and ready to use. A copy is independent of the original: Add, Set and Del never change
// what other copies see, so a Metadata may be read by many goroutines while each changes its own copy. Changing
// one costs a copy of the list; it is meant for a handful of pairs.
type Metadata struct {
	pairs []wire.Pair // never changed in place: copies share it
}

// Get returns the first value of key, "" when there is none.
func (m Metadata) Get(key string) string {
	key = strings.ToLower(key)
	for _, p := range m.pairs {
		if p.Key == key {
			return p.Value
		}
	}
	return ""
}

// Values returns all values of key in their order, nil when there are none. The result is a copy.
func (m Metadata) Values(key string) []string {
	key = strings.ToLower(key)
	var values []string
	for _, p := range m.pairs {
		if p.Key == key {
			values = append(values, p.Value)
		}
	}
	return values
}

// Len returns the number of pairs.
func (m Metadata) Len() int { return len(m.pairs) }

// All returns an iterator over the pairs in their order.
func (m Metadata) All() iter.Seq2[string, string] {
	return func(yield func(key, value string) bool) {
		for _, p := range m.pairs {
			if !yield(p.Key, p.Value) {
				return
			}
		}
	}
}

// Add appends a pair; what the key has already stays.
func (m *Metadata) Add(key, value string) {
	m.pairs = append(slices.Clip(m.pairs), wire.Pair{Key: strings.ToLower(key), Value: value})
}

// Set makes value the only one of key.
func (m *Metadata) Set(key, value string) {
	m.Del(key)
	m.Add(key, value)
}

// Del removes all values of key.
func (m *Metadata) Del(key string) {
	key = strings.ToLower(key)
	is := func(p wire.Pair) bool { return p.Key == key }
	if slices.ContainsFunc(m.pairs, is) {
		m.pairs = slices.DeleteFunc(slices.Clone(m.pairs), is)
	}
}

const reservedMetadataPrefix = "mycel-"

// check returns an InvalidArgument error when m cannot be sent; the rules stand at Metadata.
func (m Metadata) check() error {
	if n := len(m.pairs); n > wire.MaxMetadataPairs {
		return Errorf(InvalidArgument, "metadata of %d pairs exceeds the limit of %d", n, wire.MaxMetadataPairs)
	}
	for _, p := range m.pairs {
		if len(p.Key) > wire.MaxMetadataKeyBytes {
			return Errorf(InvalidArgument, "metadata key of %d bytes exceeds the limit of %d", len(p.Key), wire.MaxMetadataKeyBytes)
		}
		if !wire.ValidMetadataKey(p.Key) {
			return Errorf(InvalidArgument, "metadata key %q is empty or has characters other than a-z, 0-9, '-', '_' and '.'", p.Key)
		}
		if strings.HasPrefix(p.Key, reservedMetadataPrefix) {
			return Errorf(InvalidArgument, "metadata key %q begins with %q, which is reserved", p.Key, reservedMetadataPrefix)
		}
	}
	if n := wire.MetadataBytes(m.pairs); n > wire.MaxMetadataBytes {
		return Errorf(InvalidArgument, "metadata of %d bytes exceeds the limit of %d", n, wire.MaxMetadataBytes)
	}
	return nil
}

// Metadata to send and metadata received have keys of their own, so that what a handler received never goes out
// with the calls it makes, unless it says so.
type (
	outgoingMetadataKey struct{}
	incomingMetadataKey struct{}
)

// WithMetadata returns a context whose calls send the pair, in addition to the pairs that ctx has already, also
// of the same key. A pair that cannot be sent (see [Metadata]) makes the calls fail with [InvalidArgument].
func WithMetadata(ctx context.Context, key, value string) context.Context {
	md := outgoingMetadata(ctx)
	md.Add(key, value)
	return withOutgoingMetadata(ctx, md)
}

// MetadataFrom returns the metadata that the caller sent, in the context of a handler; it is empty in any other
// context. Metadata for the calls that a handler makes is set by [WithMetadata] alone.
func MetadataFrom(ctx context.Context) Metadata {
	md, _ := ctx.Value(incomingMetadataKey{}).(Metadata)
	return md
}

// outgoingMetadata returns the metadata that calls with ctx send, not checked yet.
func outgoingMetadata(ctx context.Context) Metadata {
	md, _ := ctx.Value(outgoingMetadataKey{}).(Metadata)
	return md
}

// withOutgoingMetadata returns a context whose calls send md and nothing else.
func withOutgoingMetadata(ctx context.Context, md Metadata) context.Context {
	return context.WithValue(ctx, outgoingMetadataKey{}, md)
}

// withIncomingMetadata returns the context for a handler whose caller sent pairs. It takes ownership of pairs.
// A context that stood for outgoing calls of the caller (in the same process) loses its metadata.
func withIncomingMetadata(ctx context.Context, pairs []wire.Pair) context.Context {
	if outgoingMetadata(ctx).Len() > 0 {
		ctx = withOutgoingMetadata(ctx, Metadata{})
	}
	return context.WithValue(ctx, incomingMetadataKey{}, Metadata{pairs})
}
