package content

import (
	"sync"

	"github.com/mycel-rpc/mycel/dedup"
	"github.com/mycel-rpc/mycel/wire/codec"
)

// fieldBytes is the smallest part of a message that is looked at by itself; what is smaller joins what follows.
const fieldBytes = 256

// appendFields appends the parts of a message of n bytes that package dedup is to look at: each large span, each run of smaller
// ones if runs is set, else each small one, and what is not to be looked at. A part is likened to those of earlier messages
// that began with the same span.
func (k *Kind) appendFields(fields []dedup.Field, n int, spans []codec.Span, runs bool) []dedup.Field {
	if len(spans) == 0 { // a self-describing map
		return append(fields, dedup.Field{End: n, Like: k.like, Secret: k.Secret() || k.NoDedup()})
	}
	start, run := 0, false // of the span; whether the last field is a run
	for i, s := range spans {
		f := dedup.Field{End: s.End, Like: k.like + uint64(i%likesPerKind), Secret: s.Secret || s.NoDedup}
		small := f.Secret || s.End-start < fieldBytes
		if last := len(fields) - 1; last >= 0 && runs && run && small && fields[last].Secret == f.Secret {
			fields[last].End = s.End
		} else {
			fields = append(fields, f)
		}
		start, run = s.End, small
	}
	return fields
}

// Lists of spans and fields are used again. Long ones are left to the garbage collector.
var (
	spanLists  = sync.Pool{New: func() any { return new([]codec.Span) }}
	fieldLists = sync.Pool{New: func() any { return new([]dedup.Field) }}
)

const maxListed = 1024

func putSpans(l *[]codec.Span) {
	if cap(*l) <= maxListed {
		*l = (*l)[:0]
		spanLists.Put(l)
	}
}

func putFields(l *[]dedup.Field) {
	if cap(*l) <= maxListed {
		*l = (*l)[:0]
		fieldLists.Put(l)
	}
}
