package codec

import (
	"fmt"
	"reflect"

	"github.com/mycel-rpc/mycel/wire/schema"
)

// Reader decodes what the writer of one schema sends into a Go type. It is immutable and safe for concurrent use.
type Reader struct {
	c     *Codec
	root  op
	slabs bool // whether a message has several texts
}

// Reader returns the reader for messages of a writer with the given schema, by the rules of "Evolution" in the
// documentation of package schema. The answers for the last 64 writers are remembered.
//
// Errors: *[schema.MismatchError] when T cannot be read from what the writer sends.
func (c *Codec) Reader(writer *schema.Schema) (*Reader, error) {
	if c.own == nil {
		return nil, &schema.MismatchError{
			Reason: fmt.Sprintf("reader %s has only the generic form: %s", c.typ, c.why), Writer: writer.ID(),
		}
	}
	id := writer.ID()
	if id == c.desc.ID() {
		return c.own, nil
	}
	if known, ok := c.readers.Get(id); ok {
		return known.r, known.err
	}
	res, err := schema.Resolve(writer, c.desc)
	found := readerOrError{err: err}
	switch {
	case err != nil:
	case res.SameLayout():
		found.r = c.own
	default:
		found.r, _ = c.reader(writer, res)
	}
	c.readers.Add(id, found)
	return found.r, found.err
}

// reader builds the plan for what res has found compatible, and returns the plans of the structs in it, too.
func (c *Codec) reader(writer *schema.Schema, res *schema.Resolution) (*Reader, map[planKey]*plan) {
	b := builder{res: res, info: c.info, plans: make(map[planKey]*plan), kept: c.elementBytes}
	r := &Reader{c: c, root: b.value(writer.Root(), c.desc.Root(), c.typ, 0)}
	for _, p := range b.plans {
		for i := range p.ops {
			p.ops[i].addTables()
		}
	}
	r.root.addTables()
	r.slabs = r.root.texts(make(map[*plan]bool)) > 1
	return r, b.plans
}

// Decode decodes b, a message of the writer, into the T that v points to. Fields the writer does not send get their
// defaults. Otherwise it is [Codec.Decode].
func (r *Reader) Decode(b []byte, v any, lim Limits) error {
	p := r.c.pointer(v)
	if p == nil {
		return r.c.wrongType(v)
	}
	d := decoder{b: b, slabs: r.slabs && len(b) <= slabMaxBytes}
	if err := d.limit(lim); err != nil {
		return err
	}
	if r.root.kind == kStruct {
		d.structure(r.root.sub, p)
	} else {
		d.value(&r.root, p)
	}
	return d.end(r.c.typ)
}

// end returns the error of decoding one whole message into a t.
func (d *decoder) end(t reflect.Type) error {
	if !d.failed() && d.i != len(d.b) {
		d.failAt(d.i, fmt.Sprintf("%d trailing bytes", len(d.b)-d.i))
	}
	if d.failed() {
		return d.err.error(t)
	}
	return nil
}
