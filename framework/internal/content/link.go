package content

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mycel-rpc/mycel/dedup"
	"github.com/mycel-rpc/mycel/streams"
	"github.com/mycel-rpc/mycel/wire"
	"github.com/mycel-rpc/mycel/wire/compress"
)

const (
	// MaxPrincipals is how many principals, besides the peer itself, a connection has tables for. Messages for others are
	// sent as they are.
	MaxPrincipals = 64

	// tableSlots is the number of bodies in a table.
	tableSlots = 1024
	// maxTableMessage is the largest message that is looked at for what repeats.
	maxTableMessage = 256 << 10

	// Messages that refer to what is not there wait for it; more of them on a connection, or for longer, fail.
	maxWaits     = 64
	maxWaitBytes = 1 << 20
	maxWait      = 2 * time.Second
)

// processBudget bounds what all connections of the process remember, in both directions: tables and streams.
var processBudget = dedup.NewBudget(256 << 20)

var (
	errNoTable = errors.New("refers to a table that was not offered")
	errWait    = errors.New("refers to what is not there, and there is no room or time to wait for it")
)

// A Link is what the two ends of a connection remember of each other's messages. It is safe for concurrent use.
type Link struct {
	conn    *streams.Conn
	sharing func() bool
	rate    func() float64 // bytes per second of the path, 0 if the processors are the limit
	off     atomic.Bool
	tables  tables

	mu         sync.Mutex
	principals map[string]uint64 // their numbers, from 1
}

// NewLink returns the link of a connection. sharing reports whether messages travel through memory that the peer shares,
// which makes every byte cheap; tableBytes is what this side keeps of the peer's messages in a direction, 0 for nothing.
func NewLink(conn *streams.Conn, sharing func() bool, tableBytes int) *Link {
	l := &Link{conn: conn, sharing: sharing, rate: conn.PathRate}
	l.tables.init(conn, tableBytes)
	return l
}

// Offer is what the hello says of the tables of this side.
func Offer(tableBytes int) wire.TableOffer {
	if tableBytes <= 0 {
		return wire.TableOffer{}
	}
	return wire.TableOffer{Slots: tableSlots, Bytes: uint64(tableBytes)}
}

// Switch turns the layer on or off for what this side sends on the connection. What arrives is always understood.
func (l *Link) Switch(on bool) { l.off.Store(!on) }

// Principal returns the number of a principal for whom this side makes calls on the connection, 0 for the empty name. There
// are numbers for [MaxPrincipals]; the others share one that has no table.
func (l *Link) Principal(name string) uint64 {
	if name == "" {
		return 0
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	n, ok := l.principals[name]
	if !ok {
		if len(l.principals) == MaxPrincipals {
			return MaxPrincipals + 1
		}
		if l.principals == nil {
			l.principals = map[string]uint64{}
		}
		n = uint64(len(l.principals) + 1)
		l.principals[strings.Clone(name)] = n
	}
	return n
}

// Handle takes a block of notices of the peer. Its error is a violation of the protocol.
func (l *Link) Handle(block []byte) error { return l.tables.handle(block) }

// path returns what is known of the way to the peer; false means that messages are sent as they are.
func (l *Link) path() (compress.Path, bool) {
	if l.off.Load() || l.sharing() {
		return compress.Path{}, false
	}
	return l.Path(), true
}

// Path returns what is known of the way to the peer.
func (l *Link) Path() compress.Path { return compress.Path{BytesPerSecond: l.rate()} }

// tables are the tables of a connection, in both directions, by principal. They end with the connection.
type tables struct {
	conn             *streams.Conn
	bytes            int // in each table of this side
	sent, received   *dedup.Budget
	waits, waitBytes atomic.Int64

	self atomic.Pointer[outTable] // for the peer itself, which is what most connections have

	mu struct {
		sync.Mutex
		outs  map[uint64]*outTable
		ins   map[uint64]*inTable
		ended bool
	}
}

func (t *tables) init(conn *streams.Conn, bytes int) {
	t.conn, t.bytes = conn, bytes
	conn.AtEnd(t.close)
}

// out returns the table for messages that are sent for a principal, nil if there is none.
func (t *tables) out(principal uint64) *outTable {
	if principal == 0 {
		if o := t.self.Load(); o != nil {
			return o
		}
	}
	offer := t.offer()
	if principal > MaxPrincipals || offer.Slots == 0 {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if o := t.mu.outs[principal]; o != nil || t.mu.ended {
		return o
	}
	if t.sent == nil {
		t.sent = dedup.NewBudget(int(offer.Bytes))
	}
	e, err := dedup.NewEncoder(dedup.Options{
		Scope: principal, Slots: int(offer.Slots), Bytes: int(offer.Bytes), Budgets: []*dedup.Budget{t.sent, processBudget},
	})
	if err != nil { // the peer offers what this side does not understand
		return nil
	}
	o := &outTable{Encoder: e, notices: notices{conn: t.conn, next: e.AppendNotices}}
	if t.mu.outs == nil {
		t.mu.outs = map[uint64]*outTable{}
	}
	t.mu.outs[principal] = o
	if principal == 0 {
		t.self.Store(o)
	}
	return o
}

// offer returns what the peer keeps, as far as this side makes use of it.
func (t *tables) offer() wire.TableOffer {
	h := t.conn.PeerHello()
	if h == nil {
		return wire.TableOffer{}
	}
	return h.Table
}

// in returns the table for messages that arrive for a principal, nil if there is none.
func (t *tables) in(principal uint64) *inTable {
	if principal > MaxPrincipals || t.bytes <= 0 {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if i := t.mu.ins[principal]; i != nil || t.mu.ended {
		return i
	}
	if t.received == nil {
		t.received = dedup.NewBudget(2 * t.bytes)
	}
	d, err := dedup.NewDecoder(dedup.Options{Scope: principal, Slots: tableSlots, Bytes: t.bytes, Budgets: []*dedup.Budget{t.received, processBudget}})
	if err != nil {
		panic("content: " + err.Error()) // the options are ours
	}
	i := &inTable{Decoder: d, notices: notices{conn: t.conn, next: d.AppendNotices}, changed: make(chan struct{})}
	if t.mu.ins == nil {
		t.mu.ins = map[uint64]*inTable{}
	}
	t.mu.ins[principal] = i
	return i
}

// close gives back what the tables hold. None is made afterwards.
func (t *tables) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.mu.ended = true
	for _, o := range t.mu.outs {
		o.Close()
	}
	for _, i := range t.mu.ins {
		i.Close()
	}
}

// handle gives a block of notices to the table that it is for.
func (t *tables) handle(block []byte) error {
	h, _, err := dedup.ParseHead(block)
	switch {
	case err != nil:
		return err
	case h.Form == dedup.FormReceivers:
		o := t.out(h.Scope)
		if o == nil {
			return errNoTable
		}
		if err := o.Handle(block); err != nil {
			return err
		}
		o.flush()
		return nil
	}
	i := t.in(h.Scope)
	if i == nil {
		return errNoTable
	}
	changed, err := i.Handle(block)
	if err != nil {
		return err
	}
	if changed {
		i.wake()
	}
	i.flush()
	return nil
}

// An outTable is a table for messages that are sent.
type outTable struct {
	*dedup.Encoder
	notices
}

// An inTable is a table for messages that arrive.
type inTable struct {
	*dedup.Decoder
	notices

	mu      sync.Mutex
	changed chan struct{} // closed and replaced when messages that miss something are to be decoded again
}

func (i *inTable) wake() {
	i.mu.Lock()
	close(i.changed)
	i.changed = make(chan struct{})
	i.mu.Unlock()
}

func (i *inTable) change() <-chan struct{} {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.changed
}

// decode puts the message in plain that a frame stands for, and waits for what it refers to if that is not there.
func (i *inTable) decode(in *In, plain *wire.Buffer, frame []byte) error {
	changed := i.change() // before it is looked for
	b, err := i.Decode(plain.B, frame, in.Limit)
	plain.B = b
	i.flush()
	if !waits(err) {
		return err
	}
	t := &in.Link.tables
	if in.Wait == nil || !t.admit(len(frame)) {
		return err
	}
	defer t.leave(len(frame))
	ctx, cancel := context.WithTimeoutCause(in.Wait, maxWait, errWait)
	defer cancel()
	for waits(err) {
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		changed = i.change()
		plain.B, err = i.Decode(plain.B, frame, in.Limit)
		i.flush()
	}
	return err
}

// admit reports whether a message of n bytes may wait for what it refers to; leave must then be called.
func (t *tables) admit(n int) bool {
	waits, bytes := t.waits.Add(1), t.waitBytes.Add(int64(n))
	if waits <= maxWaits && bytes <= maxWaitBytes {
		return true
	}
	t.leave(n)
	return false
}

func (t *tables) leave(n int) {
	t.waits.Add(-1)
	t.waitBytes.Add(-int64(n))
}

// waits reports whether an error of a decoder may go away.
func waits(err error) bool {
	miss, ok := errors.AsType[*dedup.MissError](err)
	return ok && !miss.Lost
}

// notices sends the notices of one table, in order.
type notices struct {
	conn *streams.Conn
	next func(dst []byte, room int) []byte

	busy  atomic.Bool // somebody sends
	again atomic.Bool // there may be more than whoever sends has seen
}

// flush sends what the table has to say. It does not wait: if the control stream is full, a goroutine goes on, which ends
// with the connection.
func (n *notices) flush() {
	n.again.Store(true)
	for n.again.Load() && n.busy.CompareAndSwap(false, true) {
		n.again.Store(false)
		block := n.next(nil, wire.MaxNoticesBytes)
		for ; len(block) > 0; block = n.next(nil, wire.MaxNoticesBytes) {
			if !n.conn.TrySendNotices(block) {
				n.sendLater(block)
				return
			}
		}
		n.busy.Store(false)
	}
}

// sendLater sends a block, and what comes after it, on a goroutine of its own. It is called by whoever is busy.
func (n *notices) sendLater(block []byte) {
	if !n.conn.Go(func() {
		for ; len(block) > 0; block = n.next(nil, wire.MaxNoticesBytes) {
			n.conn.SendNotices(block)
		}
		n.busy.Store(false)
		n.flush()
	}) {
		n.busy.Store(false) // the connection has ended
	}
}
