package codec

import (
	"fmt"
	"math/bits"
	"math/rand/v2"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/mycel-rpc/mycel/wire/compress"
)

const (
	packBytes   = 128 // the size from which a list is packed
	tableFrom   = 16  // the count of structs from which a list is a table
	packTries   = 3   // how often a form is tried at the start
	packEvery   = 64  // then it is tried once in so many messages, on average
	packBackoff = 6   // and each time that it does not pay, in twice as many, up to so many times
)

// A Packer decides which lists of a message are packed: those where the time to pack and unpack has been less than the time
// to send what is saved. There is one for the messages of a method in one direction; it learns from them, but the decision
// is made for each message, because it depends on the path. Where packing does not pay, that costs a few nanoseconds for
// each list.
//
// Lists are known by their fields. A field of a struct that a message has in several places counts as one.
// Packers are safe for concurrent use, and take no locks.
type Packer struct {
	c     *Codec
	sites []site
	dice  func() uint32 // uniform
}

// packSite is a field that has a packed form.
type packSite struct {
	field   string
	packing string
	column  bool // of a table
}

// site is what is known about a field. All of it may be a little out of date: nobody waits for anybody else.
type site struct {
	figures compress.Average // of the packed form: packed/plain size and nanoseconds per plain byte
	samples atomic.Uint64
	level   atomic.Uint32 // of backing off, 0 to packBackoff
	pin     atomic.Uint32 // 0, or pinPlain or pinPacked
}

const (
	pinPlain = 1 + iota
	pinPacked
)

// NewPacker returns a packer for messages of the codec, nil if they have no list that could be packed.
func (c *Codec) NewPacker() *Packer {
	if len(c.packSites) == 0 {
		return nil
	}
	return &Packer{c: c, sites: make([]site, len(c.packSites)), dice: rand.Uint32}
}

// Pin makes messages have the field in its packed form, or never, whatever that costs; except that lists of less than 128
// bytes or 16 structs are not packed, nor numbers and texts that packing does not make smaller. The name of a field is that of its [FieldStats]. An error
// says that there is no such field.
func (p *Packer) Pin(field string, packed bool) error {
	pin := uint32(pinPlain)
	if packed {
		pin = pinPacked
	}
	return p.setPin(field, pin)
}

// Unpin ends what Pin began.
func (p *Packer) Unpin(field string) error { return p.setPin(field, 0) }

func (p *Packer) setPin(field string, pin uint32) error {
	for i := range p.sites {
		if p.c.packSites[i].field == field {
			p.sites[i].pin.Store(pin)
			return nil
		}
	}
	return fmt.Errorf("codec: %s has no field %q that could be packed; Packer.Stats has those that there are", p.c.typ, field)
}

// FieldStats is what a [Packer] knows about a field.
type FieldStats struct {
	Field        string  // path from the message, such as "Readings" or "Readings[].At"
	Packing      string  // the packed form: a codec of package compress, "table" or "dictionary"
	Packed       bool    // whether messages get it, or would, if they went along the path that was asked for
	Pinned       bool    // whether Pin made the choice
	Samples      uint64  // measurements
	Ratio        float64 // plain size / packed size; 0 without samples
	NanosPerByte float64 // that packing and unpacking take for a plain byte, more than not to
}

// Stats returns what p knows about each field, in their order, and what it would do on a path. Fields of tables are
// packed on every path, within the table.
func (p *Packer) Stats(path compress.Path) []FieldStats {
	all := make([]FieldStats, len(p.sites))
	for i := range p.sites {
		s, info := &p.sites[i], p.c.packSites[i]
		f := FieldStats{Field: info.field, Packing: info.packing, Samples: s.samples.Load()}
		cost := float32(path.Cost())
		if info.column {
			cost = columnCost
		}
		if size, nanos, ok := s.figures.Load(); ok {
			f.Ratio, f.NanosPerByte = 1/float64(size), float64(nanos)
			f.Packed = pays(size, nanos, cost)
		}
		if pin := s.pin.Load(); pin != 0 {
			f.Packed, f.Pinned = pin == pinPacked, true
		}
		all[i] = f
	}
	return all
}

func pays(size, nanos, cost float32) bool { return nanos+size*cost < cost }

// choose reports whether the next list of the site is packed where a byte costs so many nanoseconds, and whether that is
// measured. The dice are thrown once for each message.
func (s *site) choose(n int, cost float32, dice uint32) (packed, sample bool) {
	if pin := s.pin.Load(); pin != 0 {
		return pin == pinPacked, false
	}
	size, nanos, ok := s.figures.Load()
	if !ok || s.samples.Load() < packTries {
		return true, true
	}
	if mask := uint32(packEvery)<<s.level.Load() - 1; bits.RotateLeft32(dice, 7*n)&mask == 0 {
		return true, true
	}
	return pays(size, nanos, cost), false
}

// observe notes what packing did to a list: the sizes, and the time that packing and unpacking takes.
func (s *site) observe(plain, sent int, spent time.Duration, cost float32) {
	samples := s.samples.Add(1)
	s.figures.Observe(float32(sent)/float32(plain), float32(spent)/float32(plain), 1./4, samples <= packTries)
	size, nanos, _ := s.figures.Load()
	switch level := s.level.Load(); {
	case samples <= packTries:
	case pays(size, nanos, cost):
		s.level.Store(0)
	case level < packBackoff:
		s.level.Store(level + 1)
	}
}

// columnCost is what a byte costs within a table, in nanoseconds: columns that can be made smaller are packed, so that what
// a table is does not depend on the path.
const columnCost = 1e6

// packList appends the n values at p in packed form if that is likely to pay; otherwise it returns b as it was. Plain is
// the size of the plain form, or a little less.
func (e *encoder) packList(b []byte, c *column, p unsafe.Pointer, stride uintptr, n, plain int) ([]byte, bool) {
	if plain < packBytes {
		return b, false
	}
	return e.pack(b, c, p, stride, n, plain, e.cost)
}

// packColumn is packList for a column of a table.
func (e *encoder) packColumn(b []byte, c *column, p unsafe.Pointer, stride uintptr, n, plain int) ([]byte, bool) {
	return e.pack(b, c, p, stride, n, plain, columnCost)
}

func (e *encoder) pack(b []byte, c *column, p unsafe.Pointer, stride uintptr, n, plain int, cost float32) ([]byte, bool) {
	s := &e.packer.sites[c.site-1]
	packed, sample := s.choose(c.site, cost, e.dice)
	if !packed {
		return b, false
	}
	if !sample {
		return c.append(b, p, stride, n, plain-1)
	}
	start := time.Now()
	out, ok := c.append(b, p, stride, n, plain-1)
	spent := time.Since(start)
	size := plain
	if ok {
		size = len(out) - len(b)
	}
	s.observe(plain, size, spent+spent/2, cost) // half as long to unpack
	return out, ok
}

// append appends n values in the packed form of c.
func (c *column) append(b []byte, p unsafe.Pointer, stride uintptr, n, limit int) ([]byte, bool) {
	if c.op.kind == kText {
		return appendDictionary(b, p, stride, n, limit)
	}
	return appendPacked(b, c, p, stride, n, limit)
}

// structs appends a list of structs, as a table if that is likely to pay.
func (e *encoder) structs(b []byte, o *op, h *sliceHeader) []byte {
	if e.packer == nil || o.x.site == 0 || h.len < tableFrom {
		return e.rows(b, o, h)
	}
	s := &e.packer.sites[o.x.site-1]
	packed, sample := s.choose(o.x.site, e.cost, e.dice)
	switch {
	case !packed:
		return e.rows(b, o, h)
	case !sample:
		return e.appendTable(b, o, h.data, h.len)
	}
	start := time.Now()
	rows := e.rows(b, o, h)
	plainTime := time.Since(start)
	if e.err != nil {
		return rows
	}
	start = time.Now()
	both := e.appendTable(rows, o, h.data, h.len)
	tableTime := time.Since(start)
	plain, size := len(rows)-len(b), len(both)-len(rows)
	// To read rows takes longer than to write them, one and a half times at least; to read a table takes half as long.
	s.observe(plain, size, max(0, tableTime*3/2-plainTime*5/2), e.cost)
	if e.err != nil || size >= plain {
		return rows
	}
	return append(b, both[len(rows):]...)
}

// findPackSites finds the fields that have packed forms, and gives them their numbers.
func (c *Codec) findPackSites() {
	seen := make(map[*plan]bool)
	var walk func(o *op, path string)
	add := func(field, packing string, inTable bool) int {
		c.packSites = append(c.packSites, packSite{field, packing, inTable})
		return len(c.packSites)
	}
	name := func(col *column) string {
		if col.op.kind == kText {
			return "dictionary"
		}
		return col.codec.String()
	}
	walk = func(o *op, path string) {
		free := o.marks&flagSecret == 0 && o.flags&flagPlain == 0 && o.kind != kWidenNumbers
		if o.x != nil && o.x.col != nil && o.x.col.site == 0 && free {
			o.x.col.site = add(path, name(o.x.col), false)
		}
		if o.x != nil && o.x.table != nil && o.x.site == 0 && o.marks&flagSecret == 0 {
			o.x.site = add(path, "table", false)
			for i := range o.x.table.cols {
				col := &o.x.table.cols[i]
				if (col.codec != compress.None || col.op.kind == kText) && col.op.flags&flagPlain == 0 {
					col.site = add(joinPath(path+"[]", col.name), name(col), true)
				}
			}
		}
		switch o.kind {
		case kStruct:
			if !seen[o.sub] {
				seen[o.sub] = true
				for i := range o.sub.ops {
					walk(&o.sub.ops[i], joinPath(path, o.sub.names[i]))
				}
			}
		case kOptional:
			walk(&o.x.elem, path)
		case kList, kStructs, kArray:
			walk(&o.x.elem, path+"[]")
		case kMap:
			walk(&o.x.elem, path+"[]")
		}
	}
	walk(&c.own.root, "")
}
