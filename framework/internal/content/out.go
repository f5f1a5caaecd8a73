package content

import (
	"time"

	"github.com/mycel-rpc/mycel/dedup"
	"github.com/mycel-rpc/mycel/largeobj"
	"github.com/mycel-rpc/mycel/wire"
	"github.com/mycel-rpc/mycel/wire/codec"
	"github.com/mycel-rpc/mycel/wire/compress"
)

// codecDedup in the codec of a reference says that the plain body is a frame of package dedup, which is compressed by the rest.
const codecDedup = 64

// blocksFrom is the size from which a body is compressed in blocks, so that neither side needs memory for more than one besides
// the body itself.
const blocksFrom = compress.MaxBlockBytes

// A memory makes frames of package dedup: a table, or the message before.
type memory interface {
	Append(dst, msg []byte, fields []dedup.Field) []byte
}

// An Out encodes one message, to be sent behind a header that says how it is encoded:
//
//	o := content.Out{Kind: k, Link: l, ...}
//	err := o.Prepare(msg)              // decides, and encodes ahead if it has to
//	b := o.Buffer()                    // or o.Payload()
//	b.B = wire.AppendRequest(b.B, ...) // with o.Ref
//	b, err = o.Append(b, msg)
//
// It is used once, by one goroutine.
type Out struct {
	*Kind
	Link      *Link
	Scope     *largeobj.Scope // of the call; nil if its messages cannot refer to large objects
	Deltas    *Deltas         // of the call; nil unless it is streaming
	Principal uint64          // for whom the call is made
	Whole     bool            // the receiver has missed something: refer to nothing

	// Ref is how the receiver decodes the message; valid after Prepare.
	Ref wire.SchemaRef

	body *wire.Buffer  // the message, if it was encoded ahead
	pack bool          // lists may be packed, for path
	path compress.Path // set if pack is

	start      time.Time // zero unless it is observed what the message costs
	remembered bool
}

// Buffer returns a buffer that header and message probably fit into.
func (o *Out) Buffer() *wire.Buffer { return o.buffer() }

// Payload returns such a buffer for the message of a unary call, which may travel through memory shared with the peer.
func (o *Out) Payload() *wire.Buffer {
	return o.Link.conn.NewPayload(HeaderRoom + o.size.expected())
}

// Prepare decides how the message is encoded. Errors: *[EncodeError], *[SizeError].
func (o *Out) Prepare(msg any) error {
	if s := o.Schema(); s != nil {
		o.Ref = o.Link.conn.SchemaRef(s)
	}
	path, ok := o.Link.path()
	if !ok {
		return nil
	}
	expected := o.size.expected()
	m, t := o.choose(expected, path.Cost())
	c := compress.None
	if o.compresses() {
		c = o.chooser.Choose(expected, path)
		if m == nil { // a packed list would have nothing in common with the one before it
			o.pack, o.path = o.packer != nil, path
		}
	}
	if m == nil && c == compress.None {
		return nil
	}
	var spans *[]codec.Span
	if m != nil {
		spans = spanLists.Get().(*[]codec.Span)
		defer putSpans(spans)
	}
	plain := o.buffer()
	if err := o.encode(plain, msg, spans); err != nil {
		plain.Release()
		return err
	}
	size, form := len(plain.B), dedup.FormPlain
	o.body = plain
	if m != nil {
		form = o.remember(m, *spans)
		if t != nil {
			t.flush()
		}
	}
	if c != compress.None && len(o.body.B) >= compress.MinBytes {
		if !o.compress(c) {
			c = compress.None
		}
	} else {
		c = compress.None
	}
	o.count(size, len(o.body.B), form, c)
	o.rate(len(o.body.B))
	return nil
}

// choose returns what is to remember the message, of about so many bytes, and the table among them; nil if nothing is.
func (o *Out) choose(expected int, perByte float64) (memory, *outTable) {
	if !o.remembers() || o.Whole {
		return nil, nil
	}
	remember, rated := o.ways.remember(expected, perByte)
	if rated {
		o.start = time.Now()
	}
	if !remember {
		return nil, nil
	}
	if o.Deltas != nil {
		if e := o.Deltas.encoder(expected); e != nil {
			o.remembered = true
			return e, nil
		}
	} else if expected <= maxTableMessage {
		if t := o.Link.tables.out(o.Principal); t != nil {
			o.remembered = true
			return t, t
		}
	}
	return nil, nil
}

// rate takes note of what it has cost to encode the message, of so many bytes.
func (o *Out) rate(bytes int) {
	if !o.start.IsZero() {
		o.ways.observe(o.remembered, bytes, time.Since(o.start))
	}
}

// Append puts the message behind the header in b, and returns b. It takes ownership of b. Errors: *[EncodeError],
// *[SizeError].
func (o *Out) Append(b *wire.Buffer, msg any) (*wire.Buffer, error) {
	if o.body != nil {
		b.AppendBody(o.body)
		o.body = nil
		return b, nil
	}
	if err := o.encode(b, msg, nil); err != nil {
		b.Release()
		return nil, err
	}
	o.rate(len(b.B) - b.Body)
	return b, nil
}

// Message encodes one message of a streaming call, with the reference before it. The caller releases it, and sends it if it
// makes another one. Errors: *[EncodeError], *[SizeError].
func (o *Out) Message(msg any) (*wire.Buffer, error) {
	if err := o.Prepare(msg); err != nil {
		return nil, err
	}
	b := o.Buffer()
	b.B = wire.AppendSchemaRef(b.B, &o.Ref)
	return o.Append(b, msg)
}

// encode appends the message to b: positionally when the peer knows or is told the schema, as a self-describing map
// otherwise. Where its fields end goes to spans, unless that is nil.
func (o *Out) encode(b *wire.Buffer, msg any, spans *[]codec.Span) error {
	o.Scope.Begin()
	head := len(b.B)
	b.Body = head
	var err error
	if o.Ref.Num == 0 {
		b.B, err = o.AppendGeneric(b.B, msg)
	} else {
		with := codec.AppendOptions{Link: link(o.Scope), Spans: spans}
		if o.pack {
			with.Packer, with.Path = o.packer, o.path
		}
		b.B, err = o.AppendWith(b.B, msg, with)
	}
	if err != nil {
		o.Scope.Undo()
		return &EncodeError{o.name, err}
	}
	size := len(b.B) - head
	o.size.observe(size)
	if limit := o.Link.conn.PeerMaxMessageBytes(); size > limit {
		o.Scope.Undo()
		return &SizeError{Name: o.name, Bytes: size, Limit: limit, Peer: true}
	}
	return nil
}

// remember makes a frame of package dedup of the body, if that is of use, and says of what form it is.
func (o *Out) remember(m memory, spans []codec.Span) dedup.Form {
	fields := fieldLists.Get().(*[]dedup.Field)
	defer putFields(fields)
	*fields = o.appendFields((*fields)[:0], len(o.body.B), spans, o.Deltas == nil)
	frame := wire.NewBuffer(len(o.body.B) + 64)
	frame.B = m.Append(frame.B, o.body.B, *fields)
	form := dedup.Form(frame.B[0])
	if form == dedup.FormPlain {
		frame.Release()
		return form
	}
	o.body.Release()
	o.body = frame
	o.Ref.Codec |= codecDedup
	return form
}

// compress compresses the body, and reports false if that does not make it smaller.
func (o *Out) compress(c compress.Codec) bool {
	plain := o.body
	start := time.Now()
	out := wire.NewBuffer(len(plain.B))
	form, ok := c, false
	if len(plain.B) < blocksFrom {
		out.B, ok = compress.Try(out.B, plain.B, c)
	} else { // where one codec takes more memory than a large body is worth, and finds no more than in its blocks
		var err error
		form = compress.Blocks
		out.B, err = compress.AppendBlocks(out.B, plain.B, c, len(plain.B)-1)
		ok = err == nil
	}
	if !ok {
		out.Release()
		o.chooser.Observe(c, len(plain.B), len(plain.B), time.Since(start))
		return false
	}
	spent := time.Since(start)
	o.chooser.Observe(c, len(plain.B), len(out.B), spent+spent/3) // a third for the receiver
	plain.Release()
	o.body = out
	o.Ref.Codec |= uint8(form)
	return true
}

// link is the scope as what fields are encoded with: a nil scope is nil.
func link(scope *largeobj.Scope) any {
	if scope == nil {
		return nil
	}
	return scope
}
