package streams

import (
	"fmt"
	"maps"
	"sync"
	"sync/atomic"

	"github.com/mycel-rpc/mycel/wire"
	"github.com/mycel-rpc/mycel/wire/schema"
)

// Bounds of what a peer may define on one connection.
const (
	maxSchemas     = 1024
	maxSchemaBytes = 1 << 20 // together
)

// A schemaSender knows how to label messages for the peer. The zero value is ready to use.
//
// A schema is sent inline until the peer has answered: nothing waits for the answer.
type schemaSender struct {
	// known maps a schema to its number once the peer has it; 0 when the peer refused it. The map is immutable.
	known atomic.Pointer[map[schema.ID]uint64]

	mu struct {
		sync.Mutex
		asked  map[schema.ID]uint64 // sent inline, not answered
		byNum  map[uint64]schema.ID
		number uint64 // definitions made
	}
}

// ref returns the number of s and whether the definition has to travel with it.
func (t *schemaSender) ref(s *schema.Schema) (num uint64, inline bool) {
	if known := t.known.Load(); known != nil {
		if num, ok := (*known)[s.ID()]; ok {
			return num, false
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if num, ok := t.mu.asked[s.ID()]; ok {
		return num, true
	}
	if t.mu.number >= maxSchemas || len(s.Canonical()) > wire.MaxSchemaBytes {
		return 0, false // generic CBOR: the peer would refuse it
	}
	if t.mu.asked == nil {
		t.mu.asked, t.mu.byNum = map[schema.ID]uint64{}, map[uint64]schema.ID{}
	}
	num = 2*t.mu.number + 1
	t.mu.number++
	t.mu.asked[s.ID()], t.mu.byNum[num] = num, s.ID()
	return num, true
}

func (t *schemaSender) learnLocked(id schema.ID, num uint64) {
	known := map[schema.ID]uint64{}
	if old := t.known.Load(); old != nil {
		known = maps.Clone(*old)
	}
	known[id] = num
	t.known.Store(&known)
}

// answer records what the peer made of definition num. It reports false if there is no such definition.
func (t *schemaSender) answer(num uint64, refused bool) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	id, ok := t.mu.byNum[num]
	if !ok {
		return false
	}
	delete(t.mu.byNum, num)
	delete(t.mu.asked, id)
	if known := t.known.Load(); known != nil {
		if _, ok := (*known)[id]; ok {
			return true // the peer's hello had it too
		}
	}
	if refused {
		num = 0
	}
	t.learnLocked(id, num)
	return true
}

// peerKnows records the list of schemas in the peer's hello.
func (t *schemaSender) peerKnows(ids [][16]byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	known := map[schema.ID]uint64{}
	if old := t.known.Load(); old != nil {
		known = maps.Clone(*old)
	}
	for i, id := range ids {
		known[id] = uint64(2*i + 2)
	}
	t.known.Store(&known)
}

// A schemaReceiver holds the schemas that the peer may refer to.
type schemaReceiver struct {
	own []*schema.Schema // announced in our hello; immutable

	// defined[n] is definition n of the peer. The slice is copied to change it.
	defined atomic.Pointer[[]*schema.Schema]

	mu struct {
		sync.Mutex
		bytes int // of all definitions
	}
}

func (t *schemaReceiver) init(own []*schema.Schema) {
	t.own = own
	t.defined.Store(new([]*schema.Schema))
}

// get returns the schema with the given number, nil if there is none.
func (t *schemaReceiver) get(num uint64) *schema.Schema {
	if num&1 == 0 {
		if i := num/2 - 1; i < uint64(len(t.own)) {
			return t.own[i]
		}
		return nil
	}
	defined := *t.defined.Load()
	if n := num / 2; n < uint64(len(defined)) {
		return defined[n]
	}
	return nil
}

// define checks and keeps an inline definition. It reports whether the peer has to be told: the first time, and
// when the table is full, in which case the schema is still returned for the message at hand.
func (t *schemaReceiver) define(num uint64, id [16]byte, canonical []byte) (s *schema.Schema, answer bool, err error) {
	if s := t.get(num); s != nil {
		if s.ID() != id {
			return nil, false, &wire.FormatError{What: "message", Reason: fmt.Sprintf("defines schema %d a second time", num)}
		}
		return s, false, nil
	}
	s, err = schema.Parse(canonical, schema.DefaultLimits)
	if err != nil {
		return nil, true, err
	}
	if s.ID() != id {
		return nil, true, &wire.FormatError{What: "message", Reason: "carries a schema whose SHA-256 is not the ID it is sent under"}
	}
	n := num / 2
	t.mu.Lock()
	defer t.mu.Unlock()
	if n >= maxSchemas || t.mu.bytes+len(canonical) > maxSchemaBytes {
		return s, true, nil
	}
	old := *t.defined.Load()
	if n < uint64(len(old)) && old[n] != nil {
		return s, false, nil // another stream defined it meanwhile
	}
	defined := make([]*schema.Schema, max(n+1, uint64(len(old))))
	copy(defined, old)
	defined[n] = s
	t.mu.bytes += len(canonical)
	t.defined.Store(&defined)
	return s, true, nil
}
