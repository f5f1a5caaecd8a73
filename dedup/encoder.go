package dedup

import (
	"bytes"
	"encoding/binary"
	"hash/maphash"
	"sync"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// quietTurns is how many messages, for each slot of the table, a slot is left alone after a use when acknowledgements are
// fast: bodies that come once or twice do not displace those that come again and again.
const quietTurns = 8

// An Encoder is the sender's side of a table: it decides which body is in which slot.
//
//	          insert                 ack
//	empty ------------> inserted ----------> acknowledged
//	  ^                    |  |                  |
//	  |                    |  +-- insert, again, if there is no ack for long
//	  +------ evict -------+---------------------+
//
// Only what is acknowledged is referred to, and neither is evicted if it was used lately.
// All methods are safe for concurrent use; messages may reach the peer in any order, notices must not.
type Encoder struct {
	opts Options
	seed maphash.Seed // random, so that nobody can choose bodies that collide

	mu struct {
		sync.Mutex
		account account
		clock   uint64                           // messages encoded
		delay   uint64                           // messages between an insert and its acknowledgement, smoothed, times 8
		slots   []sendSlot                       // by number; slot 0 is none but both ends of the ring of all others by use
		empty   []uint64                         // numbers of slots in none of index and ring
		index   map[uint64]uint64                // slot by hash of its body
		likes   map[uint64]*likeBase             // by Field.Like; each has a slot
		seen    *simplelru.LRU[uint64, struct{}] // hashes of bodies that were seen once
		bytes   int                              // of all slots, with entryBytes
		evicts  []notice                         // not sent yet, at most Options.Slots
		needs   []name                           // asked by the peer and not answered yet, at most MaxNeeds
		differ  differ
		scratch []byte // operations of the delta being tried
		stats   EncoderStats
	}
}

// EncoderStats count since the encoder was made.
type EncoderStats struct {
	Fields     uint64 // that were large enough for a slot
	References uint64 // fields sent as a reference
	Deltas     uint64 // fields sent as a difference from a slot
	Inserts    uint64
	Evictions  uint64
	Needs      uint64 // bodies that the peer asked for
	SavedBytes uint64 // message bytes that were not sent
}

type sendSlot struct {
	body       []byte
	hash       uint64
	like       uint64 // 0, or the key in likes
	gen        uint64 // of the body, or of the last one if there is none
	refs       uint64 // sent, not counting those in the message that inserts it
	acked      bool
	used, sent uint64 // clock of the last use and of the last insert
	prev, next uint64 // in the ring: next is less recently used
}

// A likeBase is the slot that fields with the same Like are compared with.
type likeBase struct {
	slot   uint64
	good   bool   // it has saved something
	bad    uint   // bases in a row that have not
	resume uint64 // clock before which nothing is tried, after bad ones
}

// NewEncoder returns an encoder with an empty table, in agreement with what a new [Decoder] knows. It must be closed.
// Errors: an option is out of range.
func NewEncoder(o Options) (*Encoder, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	e := &Encoder{opts: o, seed: maphash.MakeSeed()}
	e.mu.slots = make([]sendSlot, 1)
	e.mu.index = map[uint64]uint64{}
	e.mu.likes = map[uint64]*likeBase{}
	if e.mu.seen, err = simplelru.NewLRU[uint64, struct{}](4*o.Slots, nil); err != nil {
		return nil, err
	}
	e.mu.account.open(o.Budgets, e.shrink)
	return e, nil
}

// Close gives back the memory. The encoder still encodes messages afterwards, as they are.
func (e *Encoder) Close() {
	e.mu.Lock()
	defer e.mu.Unlock()
	for e.mu.slots[0].prev != 0 {
		e.evict(e.mu.slots[0].prev)
	}
	e.mu.evicts, e.mu.needs = nil, nil
	e.mu.account.close()
}

// Stats returns the counters.
func (e *Encoder) Stats() EncoderStats {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.mu.stats
}

// Append appends the frame of a message to dst: in pieces if any of its fields goes into a slot or comes from one,
// otherwise as it is. It borrows msg and fields until it returns and panics if the fields do not cover the message.
func (e *Encoder) Append(dst, msg []byte, fields []Field) []byte {
	checkFields(msg, fields)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.mu.clock++
	e.mu.account.used.Store(true)

	start := len(dst)
	dst = appendVarint(appendHead(dst, Head{FormPieces, e.opts.Scope}), uint64(len(msg)))
	sum := len(dst)
	dst = append(dst, 0, 0, 0, 0)
	whole := [1]Field{{End: len(msg)}}
	if len(fields) == 0 {
		fields = whole[:]
	}
	from, literal, pieces := 0, 0, 0 // where the field and the literal before it begin; pieces so far
	for _, f := range fields {
		body := msg[from:f.End]
		if !f.Secret && len(body) >= e.opts.MinBodyBytes && len(body) <= e.opts.MaxBodyBytes && pieces+3 <= MaxPieces {
			if p := e.choose(body, f.Like); p.kind != pieceLiteral {
				if literal < from {
					dst = appendPiece(dst, piece{kind: pieceLiteral, body: msg[literal:from]})
					pieces++
				}
				dst = appendPiece(dst, p)
				pieces++
				literal = f.End
			}
		}
		from = f.End
	}
	if pieces == 0 {
		return append(appendHead(dst[:start], Head{Form: FormPlain}), msg...)
	}
	if literal < len(msg) {
		dst = appendPiece(dst, piece{kind: pieceLiteral, body: msg[literal:]})
	}
	binary.BigEndian.PutUint32(dst[sum:], checksum(msg))
	if n := len(dst) - start; n < len(msg) {
		e.mu.stats.SavedBytes += uint64(len(msg) - n)
	}
	return dst
}

// choose decides how to send a field. A reference that is chosen is counted: it must be sent.
func (e *Encoder) choose(body []byte, like uint64) piece {
	e.mu.stats.Fields++
	literal := piece{kind: pieceLiteral, body: body}
	hash := maphash.Bytes(e.seed, body)
	if i, ok := e.mu.index[hash]; ok {
		s := &e.mu.slots[i]
		if !bytes.Equal(s.body, body) {
			return literal // the hash alone proves nothing
		}
		e.touch(i)
		switch now := e.mu.clock; {
		case s.sent == now: // in this very message, ahead of here
			e.mu.stats.References++
			return piece{kind: pieceReference, name: name{i, s.gen}}
		case s.acked:
			s.refs++
			e.mu.stats.References++
			return piece{kind: pieceReference, name: name{i, s.gen}}
		case now-s.sent > e.quiet(): // its stream was reset, or the receiver had no room
			s.sent = now
			e.mu.stats.Inserts++
			return piece{kind: pieceInsert, name: name{i, s.gen}, body: body}
		}
		return literal
	}
	if like != 0 {
		if p, ok := e.chooseLike(body, hash, like); ok {
			return p
		}
	}
	if !e.mu.seen.Contains(hash) {
		e.mu.seen.Add(hash, struct{}{})
		return literal
	}
	if i := e.insert(body, hash); i != 0 {
		e.mu.seen.Remove(hash)
		return piece{kind: pieceInsert, name: name{i, e.mu.slots[i].gen}, body: body}
	}
	return literal
}

// chooseLike sends a field as the difference from the base of its kind, or makes it the base; ok is false if it does
// neither.
func (e *Encoder) chooseLike(body []byte, hash, like uint64) (p piece, ok bool) {
	now := e.mu.clock
	base := e.mu.likes[like]
	bad := uint(0)
	if base != nil {
		s := &e.mu.slots[base.slot]
		if !s.acked || now < base.resume {
			return piece{}, false
		}
		most := len(body) / 2
		e.mu.scratch = e.mu.differ.append(e.mu.scratch[:0], s.body, nil, body, nil, most)
		if len(e.mu.scratch) <= most {
			e.touch(base.slot)
			s.refs++
			base.good, base.bad = true, 0
			e.mu.stats.Deltas++
			return piece{kind: pieceDelta, name: name{base.slot, s.gen}, length: len(body), body: e.mu.scratch}, true
		}
		if !base.good { // such fields do not resemble each other: try again later and later
			if bad = base.bad + 1; base.resume == 0 {
				base.resume = now + e.quiet()<<min(bad, 10)
				return piece{}, false
			}
		}
	}
	i := e.insert(body, hash)
	if i == 0 {
		return piece{}, false
	}
	if base = e.mu.likes[like]; base != nil { // still there: inserting may have evicted it
		e.mu.slots[base.slot].like = 0
	}
	e.mu.slots[i].like = like
	e.mu.likes[like] = &likeBase{slot: i, bad: bad}
	return piece{kind: pieceInsert, name: name{i, e.mu.slots[i].gen}, body: body}, true
}

// insert puts a copy of body into a slot and returns its number, or 0 if there is no room that was not used lately.
func (e *Encoder) insert(body []byte, hash uint64) uint64 {
	size := len(body) + entryBytes
	if size > e.opts.Bytes {
		return 0
	}
	for e.mu.bytes+size > e.opts.Bytes || len(e.mu.empty) == 0 && len(e.mu.slots) > e.opts.Slots {
		last := e.mu.slots[0].prev
		if e.mu.clock-e.mu.slots[last].used <= e.quiet() || len(e.mu.evicts) >= e.opts.Slots {
			return 0
		}
		e.evict(last)
	}
	if !e.mu.account.take(size) {
		return 0
	}
	e.mu.bytes += size
	var i uint64
	if n := len(e.mu.empty); n > 0 {
		i, e.mu.empty = e.mu.empty[n-1], e.mu.empty[:n-1]
	} else {
		i = uint64(len(e.mu.slots))
		e.mu.slots = append(e.mu.slots, sendSlot{})
	}
	now := e.mu.clock
	e.mu.slots[i] = sendSlot{body: bytes.Clone(body), hash: hash, gen: e.mu.slots[i].gen + 1, used: now, sent: now, prev: i, next: i}
	e.mu.index[hash] = i
	e.touch(i)
	e.mu.stats.Inserts++
	return i
}

// evict empties a slot. The receiver keeps the body until it has seen the references that are counted.
func (e *Encoder) evict(i uint64) {
	s := &e.mu.slots[i]
	e.mu.evicts = append(e.mu.evicts, notice{kind: noticeEvict, name: name{i, s.gen}, refs: s.refs})
	delete(e.mu.index, s.hash)
	if s.like != 0 {
		delete(e.mu.likes, s.like)
	}
	size := len(s.body) + entryBytes
	e.mu.bytes -= size
	e.mu.account.give(size)
	e.mu.slots[s.prev].next, e.mu.slots[s.next].prev = s.next, s.prev
	*s = sendSlot{gen: s.gen}
	e.mu.empty = append(e.mu.empty, i)
	e.mu.stats.Evictions++
}

// touch makes a slot the most recently used.
func (e *Encoder) touch(i uint64) {
	slots := e.mu.slots
	s := &slots[i]
	s.used = e.mu.clock
	slots[s.prev].next, slots[s.next].prev = s.next, s.prev
	s.prev, s.next = 0, slots[0].next
	slots[s.next].prev = i
	slots[0].next = i
}

// quiet is how many messages must pass before a slot that was used is evicted, or one that was not acknowledged is
// inserted again: at least twice what an acknowledgement takes. Without it a long round trip would make the table change
// faster than its inserts are acknowledged.
func (e *Encoder) quiet() uint64 { return max(quietTurns*uint64(e.opts.Slots), e.mu.delay/4) }

// shrink evicts everything, for a budget that is spent.
func (e *Encoder) shrink() {
	if !e.mu.TryLock() {
		return
	}
	defer e.mu.Unlock()
	for e.mu.slots[0].prev != 0 && len(e.mu.evicts) < e.opts.Slots {
		e.evict(e.mu.slots[0].prev)
	}
}

// Handle takes a block of notices of the peer's [Decoder]: what it has, and what it needs. It borrows block until it
// returns. Errors, all of which are violations by the peer: *[FormatError], *[LimitError].
func (e *Encoder) Handle(block []byte) error {
	r, err := openNotices(block, FormReceivers, e.opts.Scope)
	if err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for len(r.b) > 0 {
		n := r.notice(FormReceivers, &e.opts)
		if r.err != nil {
			break
		}
		switch n.kind {
		case noticeAck:
			e.acked(n.name)
		case noticeNeed:
			if err := e.needed(n.name); err != nil {
				return err
			}
		}
	}
	return r.err
}

func (e *Encoder) has(n name) bool {
	return n.slot < uint64(len(e.mu.slots)) && e.mu.slots[n.slot].gen == n.gen && e.mu.slots[n.slot].body != nil
}

func (e *Encoder) acked(n name) {
	if !e.has(n) || e.mu.slots[n.slot].acked {
		return // of a body that was evicted, or twice
	}
	s := &e.mu.slots[n.slot]
	s.acked = true
	e.mu.delay += e.mu.clock - s.sent - e.mu.delay/8
}

func (e *Encoder) needed(n name) error {
	for _, other := range e.mu.needs {
		if other == n {
			return nil
		}
	}
	if len(e.mu.needs) >= MaxNeeds {
		return &LimitError{What: "number of bodies needed", Limit: MaxNeeds, Got: MaxNeeds + 1}
	}
	e.mu.needs = append(e.mu.needs, n)
	e.mu.stats.Needs++
	return nil
}

// AppendNotices appends to dst one block of notices for the peer's [Decoder], of at most room bytes, and nothing if there
// are none. Call it after Append and Handle until it appends nothing, and send the blocks in this order. A room of less
// than Options.MaxBodyBytes+64 panics: a body would not fit.
func (e *Encoder) AppendNotices(dst []byte, room int) []byte {
	if room < e.opts.MaxBodyBytes+64 {
		panic("dedup: a block of notices must have room for a body")
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	w := blockWriter{dst: dst, head: Head{FormSenders, e.opts.Scope}, room: room}
	// Answers first: the body of a slot goes ahead of the eviction that ends it.
	e.mu.needs = appendQueue(&w, e.mu.needs, func(n name) notice {
		if e.has(n) {
			return notice{kind: noticeFill, name: n, body: e.mu.slots[n.slot].body}
		}
		return notice{kind: noticeGone, name: n}
	})
	e.mu.evicts = appendQueue(&w, e.mu.evicts, func(n notice) notice { return n })
	return w.dst
}
