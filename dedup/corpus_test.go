package dedup

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
)

// A dashboard is a record of 50 fields in a positional encoding; step changes two or three of them.
type dashboard struct {
	r      *rand.Rand
	fields [][]byte
}

func newDashboard(seed uint64) *dashboard {
	d := &dashboard{r: rand.New(rand.NewPCG(seed, 42)), fields: make([][]byte, 50)}
	for i := range d.fields {
		d.set(i)
	}
	return d
}

func (d *dashboard) set(i int) {
	switch i % 3 {
	case 0:
		d.fields[i] = binary.BigEndian.AppendUint32([]byte{0x1a}, d.r.Uint32()>>1)
	case 1:
		d.fields[i] = binary.BigEndian.AppendUint64([]byte{0xfb}, math.Float64bits(d.r.Float64()*1000))
	case 2:
		s := fmt.Sprintf("%s-%06x", []string{"healthy", "degraded", "starting"}[d.r.IntN(3)], d.r.IntN(1<<24))
		d.fields[i] = append([]byte{0x60 | byte(len(s))}, s...)
	}
}

func (d *dashboard) step() {
	for range 2 + d.r.IntN(2) {
		d.set(d.r.IntN(len(d.fields)))
	}
}

func (d *dashboard) encode() (msg []byte, fields []Field) {
	msg = []byte{0x98, byte(len(d.fields))}
	for _, f := range d.fields {
		msg = append(msg, f...)
		fields = append(fields, Field{End: len(msg)})
	}
	return msg, fields
}

// dashboards are n states of a dashboard, one after another.
func dashboards(n int) (msgs [][]byte, fields [][]Field) {
	d := newDashboard(1)
	for range n {
		m, f := d.encode()
		msgs, fields = append(msgs, m), append(fields, f)
		d.step()
	}
	return msgs, fields
}

// config is text of about size bytes that the seed determines.
func config(seed uint64, size int) []byte {
	r := rand.New(rand.NewPCG(seed, 7))
	var b []byte
	for i := 0; len(b) < size; i++ {
		b = fmt.Appendf(b, "section.%02d.option = %x/%x/%d\n", i, r.Uint64(), r.Uint64(), r.IntN(1000))
	}
	return b[:size]
}

// noise is n random bytes.
func noise(seed uint64, n int) []byte {
	r := rand.New(rand.NewPCG(seed, 9))
	var b []byte
	for len(b) < n {
		b = binary.LittleEndian.AppendUint64(b, r.Uint64())
	}
	return b[:n]
}

// withHead is a message of a head of its own and a body.
func withHead(seed uint64, body []byte) (msg []byte, fields []Field) {
	head := noise(seed, 24)
	return append(head, body...), []Field{{End: len(head)}, {End: len(head) + len(body)}}
}
