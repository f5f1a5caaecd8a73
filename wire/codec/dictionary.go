package codec

import (
	"hash/maphash"
	"math"
	"sync"
	"unsafe"

	"github.com/mycel-rpc/mycel/wire/compress"
	"github.com/mycel-rpc/mycel/wire/internal/item"
	"github.com/mycel-rpc/mycel/wire/schema"
)

// A dictionary of texts is for columns such as names of devices, of which there are a few: each is sent once.

const (
	maxTexts   = 256 // of a dictionary that we write
	textsSlots = 2 * maxTexts
)

// dictionary is what follows [tagDictionary].
type dictionary struct {
	texts []string
	packed
}

// dictionary reads what follows [tagDictionary], but for the indexes, and charges the message for those.
func (d *decoder) dictionary(flags uint8) (y dictionary) {
	at := d.i
	if n := d.head(item.Array); n != 2 {
		d.failLen(at, int(min(n, 1<<30)), 2)
		return
	}
	if !d.enter() {
		return
	}
	y.texts = make([]string, d.count(item.Array, 1, unsafe.Sizeof("")))
	for i := range y.texts {
		y.texts[i] = d.text(flags)
	}
	d.depth++
	at = d.i
	if tag, tagged := d.tag(); !tagged || tag != tagPacked {
		d.failAt(at, "indexes of a dictionary that are not packed")
		return
	}
	if y.packed = d.packedHead(schema.KindUint32); d.failed() {
		y = dictionary{}
	}
	return y
}

// packedTexts decodes what follows the tag at byte at into the list of texts at f.
func (d *decoder) packedTexts(o *op, f unsafe.Pointer, at int, tag uint64) {
	if tag != tagDictionary {
		d.failAt(at, "list of texts with an unknown tag")
		return
	}
	y := d.dictionary(o.flags)
	if !d.elementsFit(y.n, unsafe.Sizeof("")) {
		return
	}
	if y.n == 0 {
		*(*[]string)(f) = nil
		return
	}
	s := make([]string, y.n)
	d.lookUp(at, &y, unsafe.Pointer(unsafe.SliceData(s)), unsafe.Sizeof(""))
	*(*[]string)(f) = s
}

// lookUp stores the texts that the indexes of y stand for at base and every stride bytes behind it, as many as there is
// room for.
func (d *decoder) lookUp(at int, y *dictionary, base unsafe.Pointer, stride uintptr) {
	total, bad := 0, false
	err := compress.DecodeElements(y.body, y.codec, y.n, func(in []uint64, first int) {
		for i, x := range in {
			k := uint32(x)
			if uint64(k) >= uint64(len(y.texts)) {
				bad = true
				return
			}
			*(*string)(unsafe.Add(base, uintptr(first+i)*stride)) = y.texts[k]
			total = min(total+len(y.texts[k]), math.MaxInt/2)
		}
	})
	switch {
	case err != nil:
		d.failErr(at, "indexes of a dictionary", err)
	case bad:
		d.failAt(at, "index behind a dictionary")
	default:
		d.expand(total)
	}
}

// textIndex finds texts again.
type textIndex struct {
	texts [maxTexts]string
	slots [textsSlots]uint16 // index in texts plus one, by hash; 0 is none
	count int
}

var (
	textIndexes = sync.Pool{New: func() any { return new(textIndex) }}
	textSeed    = maphash.MakeSeed()
)

func (x *textIndex) release() {
	clear(x.texts[:x.count]) // they are the caller's
	clear(x.slots[:])
	x.count = 0
	textIndexes.Put(x)
}

// find returns the index of s, which it adds if it is new; false if there is no room.
func (x *textIndex) find(s string) (int, bool) {
	for h := maphash.String(textSeed, s); ; h++ {
		slot := &x.slots[h%textsSlots]
		switch {
		case *slot == 0 && x.count == maxTexts:
			return 0, false
		case *slot == 0:
			x.texts[x.count] = s
			x.count++
			*slot = uint16(x.count)
			return x.count - 1, true
		case x.texts[*slot-1] == s:
			return int(*slot - 1), true
		}
	}
}

// textBytes is the size of n texts as an array, nearly.
func textBytes(p unsafe.Pointer, stride uintptr, n int) int {
	size := n
	for i := range n {
		size += len(*(*string)(unsafe.Add(p, uintptr(i)*stride)))
	}
	return size
}

// appendDictionary appends the n texts at p as a dictionary, if that takes at most limit bytes; otherwise it returns b as it
// was.
func appendDictionary(b []byte, p unsafe.Pointer, stride uintptr, n, limit int) ([]byte, bool) {
	x := textIndexes.Get().(*textIndex)
	defer x.release()
	indexes := indexPool.Get().(*[]uint32)
	defer indexPool.Put(indexes)
	all := (*indexes)[:0]
	last, lastText := 0, ""
	for i := range n {
		s := *(*string)(unsafe.Add(p, uintptr(i)*stride))
		if i == 0 || s != lastText {
			k, ok := x.find(s)
			if !ok || k > 8 && k > i/2 {
				return b, false
			}
			last, lastText = k, s
		}
		all = append(all, uint32(last))
	}
	if cap(all) <= maxIndexes {
		*indexes = all
	}
	out := item.AppendHead(b, item.Tag, tagDictionary)
	out = item.AppendHead(out, item.Array, 2)
	out = appendTexts(out, x.texts[:x.count])
	limit -= len(out) - len(b)
	if limit <= 0 {
		return b, false
	}
	out, ok := appendPacked(out, &indexColumn, unsafe.Pointer(unsafe.SliceData(all)), 4, n, limit)
	if !ok {
		return b, false
	}
	return out, true
}

// maxIndexes is the most indexes whose memory is kept.
const maxIndexes = 16 << 10

var (
	indexPool   = sync.Pool{New: func() any { return new([]uint32) }}
	indexColumn = column{op: op{kind: kUint32}, from: schema.KindUint32, codec: compress.Delta32}
)
