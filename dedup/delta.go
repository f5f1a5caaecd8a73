package dedup

import (
	"fmt"
	"slices"
	"sync"
)

const (
	// leastSaved is the part of a message, in percent, that a delta must save to be worth its time.
	leastSaved = 30
	// badDeltas is how many messages in a row may miss that before deltas pause.
	badDeltas = 8
	// pauseMessages is how many messages go as they are before deltas are tried again.
	pauseMessages = 64
)

// DeltaOptions bound what one direction of one stream remembers.
type DeltaOptions struct {
	// MaxBaseBytes is the largest message that is kept as a base. Both sides must agree: 0 means 64 KiB; 64 bytes to 1 MiB.
	MaxBaseBytes int
	// Budgets are asked for every byte kept, as in [Options]. At most four.
	Budgets []*Budget
}

func (o DeltaOptions) withDefaults() (DeltaOptions, error) {
	if o.MaxBaseBytes == 0 {
		o.MaxBaseBytes = 64 << 10
	}
	if o.MaxBaseBytes < 64 || o.MaxBaseBytes > maxBodyBytes {
		return o, fmt.Errorf("dedup: DeltaOptions.MaxBaseBytes is %d, want 0 or 64 to %d", o.MaxBaseBytes, maxBodyBytes)
	}
	if len(o.Budgets) > maxBudgets {
		return o, fmt.Errorf("dedup: DeltaOptions.Budgets has %d elements, want at most %d", len(o.Budgets), maxBudgets)
	}
	return o, nil
}

// A DeltaEncoder sends the messages of one direction of a stream as differences from one another. It turns itself off
// for a while when messages do not resemble each other.
//
// A DeltaEncoder belongs to whoever writes the stream: frames must be sent in the order in which they were made.
type DeltaEncoder struct {
	opts DeltaOptions
	mu   struct { // only budgets that are spent compete for it
		sync.Mutex
		account account
		base    base
		fields  []Field // of base
		bad     int     // deltas in a row that saved too little
		pause   int     // messages to send before deltas are tried again
		differ  differ
	}
}

// NewDeltaEncoder returns the encoder of a stream that has sent nothing. It must be closed.
// Errors: an option is out of range.
func NewDeltaEncoder(o DeltaOptions) (*DeltaEncoder, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	e := &DeltaEncoder{opts: o}
	e.mu.account.open(o.Budgets, e.shrink)
	return e, nil
}

// Close gives back the memory. The encoder still encodes messages afterwards, as they are.
func (e *DeltaEncoder) Close() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.mu.base.drop(&e.mu.account)
	e.mu.account.close()
}

// Append appends the frame of the next message to dst: the difference from the previous one if that is much shorter,
// otherwise the message as it is. It borrows msg and fields until it returns and panics if the fields do not cover
// the message. A frame that is not sent breaks those after it.
func (e *DeltaEncoder) Append(dst, msg []byte, fields []Field) []byte {
	checkFields(msg, fields)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.mu.account.used.Store(true)
	secret := slices.ContainsFunc(fields, func(f Field) bool { return f.Secret })
	if e.mu.pause > 0 || secret || len(msg) > e.opts.MaxBaseBytes {
		e.mu.pause = max(e.mu.pause-1, 0)
		e.mu.base.drop(&e.mu.account)
		return append(appendHead(dst, Head{Form: FormPlain}), msg...)
	}
	start, worth := len(dst), false
	if e.mu.base.kept {
		dst = appendSize(appendHead(dst, Head{Form: FormDelta}), msg)
		ops, most := len(dst), len(msg)*(100-leastSaved)/100
		dst = e.mu.differ.append(dst, e.mu.base.bytes, e.mu.fields, msg, fields, most)
		if worth = len(dst)-ops <= most && len(dst)-start < len(msg); worth {
			e.mu.bad = 0
		} else if e.mu.bad++; e.mu.bad == badDeltas {
			e.mu.bad, e.mu.pause = 0, pauseMessages
		}
	}
	form := FormBase
	if e.mu.pause > 0 || !e.mu.base.set(&e.mu.account, msg) {
		e.mu.base.drop(&e.mu.account)
		form, worth = FormPlain, false
	}
	e.mu.fields = append(e.mu.fields[:0], fields...)
	if worth {
		return dst
	}
	return append(appendHead(dst[:start], Head{Form: form}), msg...)
}

// shrink forgets the base, for a budget that is spent: the next message goes as it is.
func (e *DeltaEncoder) shrink() {
	if e.mu.TryLock() {
		defer e.mu.Unlock()
		e.mu.base.drop(&e.mu.account)
		e.mu.fields = nil
	}
}

// A DeltaDecoder is the other side of a [DeltaEncoder]. It belongs to whoever reads the stream: frames must come in the
// order in which they were made.
type DeltaDecoder struct {
	opts    DeltaOptions
	account account
	base    base
}

// NewDeltaDecoder returns the decoder of a stream that has received nothing. It must be closed.
// Errors: an option is out of range.
func NewDeltaDecoder(o DeltaOptions) (*DeltaDecoder, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	d := &DeltaDecoder{opts: o}
	d.account.open(o.Budgets, func() {}) // the sender counts on the base
	return d, nil
}

// Close gives back the memory. Deltas that follow are errors.
func (d *DeltaDecoder) Close() {
	d.base.drop(&d.account)
	d.account.close()
}

// Decode appends to dst the message of the next frame, which has at most limit bytes, and returns it. On an error it
// returns dst as it was, and the stream cannot go on. It borrows frame until it returns; the result is a copy.
//
// Errors: [ErrNoBase]; *[ChecksumError], the base is not the one that the sender meant; *[FormatError] and
// *[LimitError], the peer violates the protocol.
func (d *DeltaDecoder) Decode(dst, frame []byte, limit int) ([]byte, error) {
	h, n, err := ParseHead(frame)
	if err != nil {
		return dst, err
	}
	out := dst
	switch h.Form {
	case FormPlain, FormBase:
		out, err = appendPlain(dst, frame[n:], limit)
	case FormDelta:
		out, err = d.patch(dst, frame[n:], limit)
	default:
		return dst, malformed("message", "has a form that does not belong here")
	}
	if err != nil {
		d.base.drop(&d.account)
		return dst, err
	}
	msg := out[len(dst):]
	if h.Form == FormPlain {
		d.base.drop(&d.account)
		return out, nil
	}
	if len(msg) > d.opts.MaxBaseBytes {
		d.base.drop(&d.account)
		return dst, &LimitError{What: "base", Limit: uint64(d.opts.MaxBaseBytes), Got: uint64(len(msg)), Knob: "DeltaOptions.MaxBaseBytes"}
	}
	if !d.base.set(&d.account, msg) {
		d.base.drop(&d.account)
	}
	return out, nil
}

func (d *DeltaDecoder) patch(dst, b []byte, limit int) ([]byte, error) {
	r := reader{b: b, what: "message"}
	length := r.length("message", min(limit, d.opts.MaxBaseBytes), "message limit, DeltaOptions.MaxBaseBytes")
	sum := r.checksum()
	if r.err != nil {
		return dst, r.err
	}
	if !d.base.kept {
		return dst, ErrNoBase
	}
	out, err := appendPatched(slices.Grow(dst, length), d.base.bytes, r.b, length)
	if err != nil {
		return dst, err
	}
	if got := checksum(out[len(dst):]); got != sum {
		return dst, &ChecksumError{Want: sum, Got: got}
	}
	return out, nil
}

// A base is the previous message of a stream, if it is kept.
type base struct {
	bytes []byte // of whose capacity the budgets know
	kept  bool
}

// set makes a copy of msg the base and reports whether there is room; if not, the old one stays.
func (b *base) set(a *account, msg []byte) bool {
	if len(msg) > cap(b.bytes) {
		room := len(msg) + len(msg)/4
		if !a.take(room - cap(b.bytes)) {
			return false
		}
		b.bytes = make([]byte, 0, room)
	}
	b.bytes, b.kept = append(b.bytes[:0], msg...), true
	return true
}

func (b *base) drop(a *account) {
	a.give(cap(b.bytes))
	*b = base{}
}
