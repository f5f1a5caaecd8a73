package codec

import (
	"unsafe"

	"github.com/mycel-rpc/mycel/wire/internal/item"
)

const (
	// spanBytes is the size from which a field of a nested struct is a span by itself: below, it costs as much to tell
	// where a repeated field is as is saved.
	spanBytes = 256
	// spanLevels is how deep structs are taken apart.
	spanLevels = 4
)

// A Span is a part of a message that belongs together: whoever looks for what repeats in messages, or changes, compares
// spans. It begins where the span before it ends, the first one at the start of the message.
//
// In the positional form each field of the message is a span, in order; the head of the message belongs to the first one.
// Of a field that is a struct or a pointer to one, up to four levels deep, each field of 256 bytes or more is a span, and
// so is each run of smaller fields with the same attributes. A message that is no struct, or has no positional form, is
// one span. Spans cover the whole message.
type Span struct {
	End int // in bytes from the start of the message, that is, from len(dst)
	// Secret says that the span has a field with the tag secret: it is not to be compressed, compared or remembered.
	Secret bool
	// NoDedup says that the span has a field with the tag nodedup, or fields in an [Extra], whose tags nobody here knows: it
	// is not to be remembered or sent as a difference.
	NoDedup bool
}

// spanner is what an encoder that records spans has in addition.
type spanner struct {
	spans []Span
	start int  // of the message
	end   int  // of the last span, from start
	run   bool // whether the last span is a run of small nested fields
}

// withSpans appends the value at p and its spans.
func (e *encoder) withSpans(b []byte, root *op, p unsafe.Pointer, spans *[]Span) []byte {
	s := spanner{spans: *spans, start: len(b)}
	if root.kind == kStruct {
		b = e.structureSpans(b, root.sub, p, &s, 0)
	} else {
		b = e.value(b, root, p)
	}
	if e.err != nil {
		return b
	}
	if s.end < len(b)-s.start {
		s.add(len(b), root.marks, false)
	}
	*spans = s.spans
	return b
}

// structureSpans is [encoder.structure] with spans.
func (e *encoder) structureSpans(b []byte, p *plan, base unsafe.Pointer, s *spanner, level int) []byte {
	if !e.enter() {
		return b
	}
	b = item.AppendHead(b, item.Array, uint64(len(p.ops)))
	for i := range p.ops {
		o := &p.ops[i]
		if level == 0 {
			s.run = false
		}
		f, inner := unsafe.Add(base, o.off), o
		if o.kind == kOptional && o.x.elem.kind == kStruct {
			if to := *(*unsafe.Pointer)(f); to != nil {
				f, inner = to, &o.x.elem
			}
		}
		if inner.kind == kStruct && level < spanLevels {
			b = e.structureSpans(b, inner.sub, f, s, level+1)
			if e.err == nil && s.end < len(b)-s.start {
				s.add(len(b), o.marks, level > 0) // a struct without fields
			}
		} else {
			b = e.value(b, inner, f)
			marks := o.marks
			if o.kind == kExtra && len(*(*Extra)(unsafe.Add(base, o.x.extra.off))) > 0 {
				marks |= flagNoDedup
			}
			s.add(len(b), marks, level > 0)
		}
		if e.err != nil {
			e.under(p.names[i])
			return b
		}
	}
	e.depth--
	return b
}

// add ends a span where b, all that is encoded, has end bytes. A small nested field joins the run before it.
func (s *spanner) add(end int, marks uint8, nested bool) {
	size := end - s.start - s.end
	s.end += size
	span := Span{s.end, marks&flagSecret != 0, marks&flagNoDedup != 0}
	small := nested && size < spanBytes
	if small && s.run {
		if last := &s.spans[len(s.spans)-1]; last.Secret == span.Secret && last.NoDedup == span.NoDedup {
			last.End = s.end
			return
		}
	}
	s.spans, s.run = append(s.spans, span), small
}

// markPlans finds out the attributes of all ops below root: what is tagged, there or below. Structs may contain themselves,
// so it repeats until nothing changes.
func markPlans(root *op, plans map[planKey]*plan) {
	for changed := true; changed; {
		changed = root.mark()
		for _, p := range plans {
			for i := range p.ops {
				if p.ops[i].mark() {
					changed = true
				}
			}
		}
	}
}

// mark adds to the attributes of the op those that it has and those of what is below, and reports whether that is news.
func (o *op) mark() bool {
	before := o.marks
	o.marks |= o.flags & (flagSecret | flagNoDedup)
	if o.sub != nil {
		for i := range o.sub.ops {
			o.marks |= o.sub.ops[i].marks
		}
	}
	changed := o.marks != before
	if o.x != nil {
		for _, in := range []*op{&o.x.key, &o.x.elem} {
			changed = in.mark() || changed
			o.marks |= in.marks
		}
	}
	return changed || o.marks != before
}
