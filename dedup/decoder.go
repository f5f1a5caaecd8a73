package dedup

import (
	"bytes"
	"maps"
	"slices"
	"sync"
)

// A Decoder is the receiver's side of a table. It does what the sender says, within its bounds: what it has no room for
// it does not acknowledge, and what it had to forget it asks for.
//
// All methods are safe for concurrent use; messages may be decoded in any order, notices must not.
type Decoder struct {
	opts Options

	mu struct {
		sync.Mutex
		account account
		newest  []uint64        // by slot: the highest generation that was inserted or evicted
		entries map[name]*entry // live, or draining: evicted with references still to come
		old     []*entry        // draining, the oldest first; some may have left entries already
		left    int             // how many of old have left
		needs   map[name]need   // bodies asked for, until they are there; at most MaxNeeds
		bytes   int             // of all entries, with entryBytes
		asks    []name          // of needs, those not sent yet
		acks    []name          // not sent yet
		stats   DecoderStats
	}
}

// A need is how far a question is.
type need uint8

const (
	needAsked  need = 1
	needGone   need = 2 // the sender does not have it, and will not have it again
	needNoRoom need = 3 // it came and there was no room; whoever learns that may ask again
)

// DecoderStats count since the decoder was made.
type DecoderStats struct {
	References uint64 // resolved, deltas included
	Misses     uint64 // bodies asked for
	Refused    uint64 // inserts that there was no room for
	Dropped    uint64 // bodies given up before all their references were seen
	Draining   int    // bodies evicted by the sender and kept for references still to come
	Bytes      int    // in use
}

// An entry is a body and what is known of references to it. Bodies are never changed, so that they can be read without
// the lock.
type entry struct {
	name     name
	body     []byte // nil if there was no memory for it
	resolved uint64 // references seen
	want     uint64 // references sent in all, once the sender has said so
	known    bool   // want is
	draining bool
	gone     bool // not in entries any more
}

// NewDecoder returns a decoder with an empty table. It must be closed. Errors: an option is out of range.
func NewDecoder(o Options) (*Decoder, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	d := &Decoder{opts: o}
	d.mu.entries = map[name]*entry{}
	d.mu.needs = map[name]need{}
	d.mu.account.open(o.Budgets, d.shrink)
	return d, nil
}

// Close gives back the memory. Messages that refer to slots are lost afterwards.
func (d *Decoder) Close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	clear(d.mu.entries)
	d.mu.old, d.mu.left, d.mu.bytes = nil, 0, 0
	d.mu.account.close()
}

// Stats returns the counters.
func (d *Decoder) Stats() DecoderStats {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := d.mu.stats
	s.Draining, s.Bytes = len(d.mu.old)-d.mu.left, d.mu.bytes
	return s
}

// Decode appends to dst the message of a frame, which has at most limit bytes, and returns it. On an error it returns
// dst as it was. It borrows frame until it returns; the result is a copy.
//
// Errors: *[MissError], to wait or to fail the call; *[FormatError] and *[LimitError], the peer violates the protocol;
// *[ChecksumError], both sides do not remember the same, which only a violation by the peer or a bug explains.
func (d *Decoder) Decode(dst, frame []byte, limit int) ([]byte, error) {
	h, n, err := ParseHead(frame)
	switch {
	case err != nil:
		return dst, err
	case h.Form == FormPlain:
		return appendPlain(dst, frame[n:], limit)
	case h.Form != FormPieces:
		return dst, malformed("message", "has a form that does not belong here")
	case h.Scope != d.opts.Scope:
		return dst, malformed("message", "is of another scope")
	}
	r := reader{b: frame[n:], what: "message"}
	length := r.length("message", limit, "message limit")
	sum := r.checksum()
	var array [8]piece
	pieces := array[:0]
	r.what = "piece"
	for len(r.b) > 0 && len(pieces) < MaxPieces {
		pieces = append(pieces, r.piece(&d.opts))
	}
	if len(r.b) > 0 {
		return dst, &LimitError{What: "number of pieces", Limit: MaxPieces, Got: MaxPieces + 1}
	}
	if r.err != nil {
		return dst, r.err
	}
	if err := d.resolve(pieces); err != nil {
		return dst, err
	}
	if err := checkLength(pieces, length); err != nil { // before memory for it is allocated
		return dst, err
	}
	out := slices.Grow(dst, length)
	for i := range pieces {
		switch p := &pieces[i]; p.kind {
		case pieceLiteral, pieceInsert:
			out = append(out, p.body...)
		case pieceReference:
			out = append(out, p.from...)
		case pieceDelta:
			if out, err = appendPatched(out, p.from, p.body, p.length); err != nil {
				return dst, err
			}
		}
	}
	if got := checksum(out[len(dst):]); got != sum {
		return dst, &ChecksumError{Want: sum, Got: got}
	}
	d.commit(pieces)
	return out, nil
}

func appendPlain(dst, msg []byte, limit int) ([]byte, error) {
	if len(msg) > limit {
		return dst, &LimitError{What: "message", Limit: uint64(limit), Got: uint64(len(msg)), Knob: "message limit"}
	}
	return append(dst, msg...), nil
}

func checkLength(pieces []piece, length int) error {
	for i := range pieces {
		switch p := &pieces[i]; p.kind {
		case pieceReference:
			length -= len(p.from)
		case pieceDelta:
			length -= p.length
		default:
			length -= len(p.body)
		}
	}
	if length != 0 {
		return malformed("message", "has pieces of another length than it says")
	}
	return nil
}

// resolve finds the bodies that pieces refer to: in the same message, or in the table.
func (d *Decoder) resolve(pieces []piece) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.mu.account.used.Store(true)
	var miss *MissError
	for i := range pieces {
		p := &pieces[i]
		if p.kind != pieceReference && p.kind != pieceDelta {
			continue
		}
		if p.from = inserted(pieces[:i], p.name); p.from != nil {
			continue
		}
		if p.base = d.mu.entries[p.name]; p.base != nil && p.base.body != nil {
			p.from = p.base.body
			continue
		}
		lost := d.miss(p.name)
		if miss == nil || lost {
			miss = &MissError{Slot: p.name.slot, Generation: p.name.gen, Lost: lost}
		}
	}
	if miss != nil {
		return miss
	}
	return nil
}

// inserted returns the body that one of pieces inserts under a name, nil if none does.
func inserted(pieces []piece, n name) []byte {
	for i := range pieces {
		if p := &pieces[i]; p.kind == pieceInsert && p.name == n {
			return p.body
		}
	}
	return nil
}

// miss asks for a body, once, and reports whether it will not come.
func (d *Decoder) miss(n name) (lost bool) {
	switch d.mu.needs[n] {
	case needAsked:
		return false
	case needGone:
		return true
	case needNoRoom:
		delete(d.mu.needs, n)
		return true
	}
	if len(d.mu.needs) >= MaxNeeds { // nobody may have come for these
		maps.DeleteFunc(d.mu.needs, func(_ name, n need) bool { return n != needAsked })
	}
	if len(d.mu.needs) >= MaxNeeds || d.mu.account.closed {
		return true
	}
	d.mu.needs[n] = needAsked
	d.mu.stats.Misses++
	d.mu.asks = append(d.mu.asks, n)
	return false
}

// commit counts the references of a message that was decoded, and keeps what it inserts.
func (d *Decoder) commit(pieces []piece) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for i := range pieces {
		switch p := &pieces[i]; {
		case p.kind == pieceInsert:
			d.insert(p.name, p.body)
		case p.base != nil:
			p.base.resolved++
			d.mu.stats.References++
			d.settle(p.base)
		}
	}
}

// insert stores a copy of a body and acknowledges it, unless it was evicted before it came or there is no room.
func (d *Decoder) insert(n name, body []byte) {
	e := d.mu.entries[n]
	switch {
	case e != nil && e.body != nil: // again: the acknowledgement was late
	case e == nil && n.gen <= d.newest(n.slot): // evicted
		return
	case !d.store(n, body):
		d.mu.stats.Refused++
		return
	}
	if len(d.mu.acks) < d.opts.Slots {
		d.mu.acks = append(d.mu.acks, n)
	}
}

// store keeps a copy of a body under a name that has none, if there is room.
func (d *Decoder) store(n name, body []byte) bool {
	size := len(body) + entryBytes
	for d.mu.bytes+size > 2*d.opts.Bytes || len(d.mu.entries) >= 2*d.opts.Slots {
		if !d.dropOldest() {
			return false
		}
	}
	if !d.mu.account.take(size) {
		return false
	}
	d.mu.bytes += size
	e := d.mu.entries[n]
	if e == nil {
		e = &entry{name: n}
		d.mu.entries[n] = e
		newest := d.newest(n.slot)
		if n.gen < newest { // filled, after the next generation came
			d.drain(e)
		} else if n.gen > newest {
			d.supersede(n)
		}
	}
	e.body = bytes.Clone(body)
	if e.body == nil {
		e.body = []byte{}
	}
	return true
}

func (d *Decoder) newest(slot uint64) uint64 {
	if slot < uint64(len(d.mu.newest)) {
		return d.mu.newest[slot]
	}
	return 0
}

// supersede makes n the newest generation of its slot; an older one drains.
func (d *Decoder) supersede(n name) {
	if n.slot >= uint64(len(d.mu.newest)) {
		d.mu.newest = append(d.mu.newest, make([]uint64, n.slot+1-uint64(len(d.mu.newest)))...)
	}
	if old := d.mu.entries[name{n.slot, d.mu.newest[n.slot]}]; old != nil {
		d.drain(old)
	}
	d.mu.newest[n.slot] = n.gen
}

// drain keeps an entry for references that are still under way.
func (d *Decoder) drain(e *entry) {
	if !e.draining {
		e.draining = true
		d.mu.old = append(d.mu.old, e)
	}
}

// settle removes an entry once all its references have been seen.
func (d *Decoder) settle(e *entry) {
	if e.known && e.resolved >= e.want {
		d.remove(e)
	}
}

func (d *Decoder) remove(e *entry) {
	if e.gone {
		return
	}
	e.gone = true
	delete(d.mu.entries, e.name)
	d.empty(e)
	if e.draining {
		if d.mu.left++; d.mu.left > len(d.mu.old)/2 {
			d.mu.old = slices.DeleteFunc(d.mu.old, func(e *entry) bool { return e.gone })
			d.mu.left = 0
		}
	}
}

// empty gives back the memory of a body.
func (d *Decoder) empty(e *entry) {
	if e.body != nil {
		size := len(e.body) + entryBytes
		d.mu.bytes -= size
		d.mu.account.give(size)
		e.body = nil
	}
}

// dropOldest gives up the entry that has been draining for longest, and reports whether there was one: its references
// were reset, or it will be asked for and be lost.
func (d *Decoder) dropOldest() bool {
	i := slices.IndexFunc(d.mu.old, func(e *entry) bool { return !e.gone })
	if i < 0 {
		return false
	}
	d.mu.stats.Dropped++
	d.remove(d.mu.old[i])
	return true
}

// shrink forgets all bodies but not their counts, for a budget that is spent. Those that are referred to again will be
// asked for.
func (d *Decoder) shrink() {
	if !d.mu.TryLock() {
		return
	}
	defer d.mu.Unlock()
	for d.dropOldest() {
	}
	for _, e := range d.mu.entries {
		d.empty(e)
	}
}

// Handle takes a block of notices of the peer's [Encoder] and reports whether any of them is an answer, so that messages
// that missed a body should be decoded again. It borrows block until it returns. Errors, all of which are violations by
// the peer: *[FormatError], *[LimitError].
func (d *Decoder) Handle(block []byte) (changed bool, err error) {
	r, err := openNotices(block, FormSenders, d.opts.Scope)
	if err != nil {
		return false, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for len(r.b) > 0 {
		n := r.notice(FormSenders, &d.opts)
		if r.err != nil {
			break
		}
		switch n.kind {
		case noticeEvict:
			d.evict(n.name, n.refs)
		case noticeFill:
			changed = d.fill(n.name, n.body) || changed
		case noticeGone:
			changed = d.fill(n.name, nil) || changed
		}
	}
	return changed, r.err
}

// evict ends a generation. An insert of it that is still under way will not be stored.
func (d *Decoder) evict(n name, refs uint64) {
	if n.gen > d.newest(n.slot) {
		d.supersede(n)
	}
	if e := d.mu.entries[n]; e != nil {
		d.drain(e)
		e.want, e.known = refs, true
		d.settle(e)
	}
}

// fill takes the answer to a need, nil if the sender does not have the body.
func (d *Decoder) fill(n name, body []byte) bool {
	if d.mu.needs[n] != needAsked {
		return false
	}
	e := d.mu.entries[n]
	switch {
	case e != nil && e.body != nil: // an insert was faster
		delete(d.mu.needs, n)
	case body == nil:
		d.mu.needs[n] = needGone
	case d.store(n, body):
		delete(d.mu.needs, n)
	default:
		d.mu.needs[n] = needNoRoom
	}
	return true
}

// AppendNotices appends to dst one block of notices for the peer's [Encoder], of at most room bytes, and nothing if there
// are none. Call it after Decode and Handle until it appends nothing, and send the blocks in this order. A room of less
// than 64 bytes panics: a notice might not fit.
func (d *Decoder) AppendNotices(dst []byte, room int) []byte {
	if room < 64 {
		panic("dedup: a block of notices must have room for a notice")
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	w := blockWriter{dst: dst, head: Head{FormReceivers, d.opts.Scope}, room: room}
	d.mu.acks = appendQueue(&w, d.mu.acks, func(n name) notice { return notice{kind: noticeAck, name: n} })
	d.mu.asks = appendQueue(&w, d.mu.asks, func(n name) notice { return notice{kind: noticeNeed, name: n} })
	return w.dst
}
