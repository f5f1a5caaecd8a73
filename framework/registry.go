package framework

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/mycel-rpc/mycel/wire/codec"
	"github.com/mycel-rpc/mycel/wire/schema"
)

// A method is a declared method with its handler.
type method struct {
	sp  *spec
	run ServerFunc // with the interceptors around it
}

// A registry holds the methods that one side serves. Methods are only ever added, and keep their number, so that a
// number which a peer learned in a hello stays right.
type registry struct {
	interceptors []ServerInterceptor

	table atomic.Pointer[methodTable]
	mu    sync.Mutex // held to replace table
}

// methodTable is immutable.
type methodTable struct {
	list   []*method // by number
	byName map[string]*method
}

func newRegistry(interceptors []ServerInterceptor) *registry {
	r := &registry{interceptors: slices.Clone(interceptors)}
	r.table.Store(&methodTable{byName: map[string]*method{}})
	return r
}

func (r *registry) register(sp *spec, run ServerFunc) {
	for _, wrap := range slices.Backward(r.interceptors) {
		run = wrap(run)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	old := r.table.Load()
	if old.byName[sp.info.Method] != nil {
		panic(fmt.Sprintf("framework: method %s is served twice", sp.info.Method))
	}
	m := &method{sp: sp, run: run}
	t := &methodTable{list: append(slices.Clone(old.list), m), byName: make(map[string]*method, len(old.list)+1)}
	for _, m := range t.list {
		t.byName[m.sp.info.Method] = m
	}
	r.table.Store(t)
}

// find returns the method with the number (from 1) or, if that is 0, the name; nil if there is none.
func (r *registry) find(num uint64, name []byte) *method {
	t := r.table.Load()
	if num == 0 {
		return t.byName[string(name)]
	}
	if num <= uint64(len(t.list)) {
		return t.list[num-1]
	}
	return nil
}

// announcement returns what a hello says of the methods: their names, in the order of their numbers, and the
// schemas of their messages.
func (r *registry) announcement() (names []string, schemas []*schema.Schema) {
	seen := map[schema.ID]bool{}
	for _, m := range r.table.Load().list {
		names = append(names, m.sp.info.Method)
		for _, c := range []*codec.Codec{m.sp.req.Codec, m.sp.rsp.Codec} {
			if s := c.Schema(); s != nil && !seen[s.ID()] {
				seen[s.ID()] = true
				schemas = append(schemas, s)
			}
		}
	}
	return names[:min(len(names), maxAnnounced)], schemas[:min(len(schemas), maxAnnounced)]
}

// maxAnnounced bounds both lists of a hello; further methods are called by name.
const maxAnnounced = 512
