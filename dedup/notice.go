package dedup

type noticeKind uint8

const (
	noticeAck   noticeKind = 1 // receiver: the body of an insert is there
	noticeNeed  noticeKind = 2 // receiver: a message refers to a body that is not there
	noticeEvict noticeKind = 3 // sender: there were so many references, there will be no more
	noticeFill  noticeKind = 4 // sender, after a need: the body
	noticeGone  noticeKind = 5 // sender, after a need: it does not have the body any more
)

// A notice is what one side tells the other about a slot, in order, outside of messages.
type notice struct {
	kind noticeKind
	name name
	refs uint64 // evict: references ever sent, not counting those in the message of their insert
	body []byte // fill
}

func appendNotice(dst []byte, n notice) []byte {
	dst = appendName(append(dst, byte(n.kind)), n.name)
	switch n.kind {
	case noticeEvict:
		dst = appendVarint(dst, n.refs)
	case noticeFill:
		dst = append(appendVarint(dst, uint64(len(n.body))), n.body...)
	}
	return dst
}

// notice reads one notice that the owner of the form may send. Its bytes alias the input.
func (r *reader) notice(form Form, o *Options) (n notice) {
	kind := r.bytes(1)
	if r.err != nil {
		return notice{}
	}
	n.kind = noticeKind(kind[0])
	if allowed := n.kind >= noticeEvict && n.kind <= noticeGone; form == FormSenders && !allowed {
		r.fail("is not one of a sender")
	}
	if allowed := n.kind == noticeAck || n.kind == noticeNeed; form == FormReceivers && !allowed {
		r.fail("is not one of a receiver")
	}
	n.name = r.name(o.Slots)
	switch n.kind {
	case noticeEvict:
		n.refs = r.varint()
	case noticeFill:
		n.body = r.bytes(uint64(r.length("body", o.MaxBodyBytes, "Options.MaxBodyBytes")))
	}
	return n
}

// openNotices checks the head of a block of notices and returns a reader of its notices.
func openNotices(block []byte, form Form, scope uint64) (reader, error) {
	h, n, err := ParseHead(block)
	if err != nil {
		return reader{}, err
	}
	if h.Form != form {
		return reader{}, malformed("notices", "are for the other side")
	}
	if h.Scope != scope {
		return reader{}, malformed("notices", "are of another scope")
	}
	return reader{b: block[n:], what: "notice"}, nil
}

// A blockWriter appends one block of notices, if there are any.
type blockWriter struct {
	dst   []byte
	head  Head
	room  int // bytes that the block may have in all
	begun bool
}

// add appends a notice and reports whether there was room.
func (w *blockWriter) add(n notice) bool {
	before, room := len(w.dst), w.room
	if !w.begun {
		w.dst = appendHead(w.dst, w.head)
	}
	w.dst = appendNotice(w.dst, n)
	if room -= len(w.dst) - before; room < 0 {
		w.dst = w.dst[:before]
		return false
	}
	w.begun, w.room = true, room
	return true
}

// appendQueue adds notices made of the elements of a queue and returns the queue of those left.
func appendQueue[T any](w *blockWriter, queue []T, make func(T) notice) []T {
	n := 0
	for n < len(queue) && w.add(make(queue[n])) {
		n++
	}
	rest := copy(queue, queue[n:])
	clear(queue[rest:])
	return queue[:rest]
}
