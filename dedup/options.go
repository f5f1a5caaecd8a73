package dedup

import "fmt"

const (
	// MaxSlots is the largest number of slots of a table.
	MaxSlots = 1 << 16
	// MaxNeeds is the largest number of bodies that a receiver has asked for and not got yet.
	MaxNeeds = 64

	minBodyBytes = 32 // below that a reference saves nothing
	maxBodyBytes = 1 << 20

	// entryBytes is what a body costs in memory beyond its own length.
	entryBytes = 192
)

// Options bound a table. Both sides of a table must agree on Slots, Bytes and MaxBodyBytes; who wants no table makes none.
// They are copied and do not change afterwards.
type Options struct {
	// Scope names the table among those of a connection and direction, in every frame; 0 to 2^62-1.
	// Use one scope for each authenticated principal, see "Security" in the package documentation.
	Scope uint64
	// Slots is the number of bodies that the sender may keep at a time. 0 means 1024, at most [MaxSlots].
	Slots int
	// Bytes bounds the memory of the bodies that the sender may keep, counting 192 bytes more for each. The receiver
	// keeps up to twice as much, for what has been evicted and may still be referred to. 0 means 4 MiB; at least 4 KiB.
	Bytes int
	// MinBodyBytes is the smallest field that goes into a slot. 0 means 256; 32 to MaxBodyBytes. Senders only.
	MinBodyBytes int
	// MaxBodyBytes is the largest field that goes into a slot. 0 means 64 KiB; 32 bytes to 1 MiB.
	MaxBodyBytes int
	// Budgets are asked for every byte the table keeps, in this order: of the connection and direction, of the
	// principal, of the process, for instance. At most four.
	Budgets []*Budget
}

func (o Options) withDefaults() (Options, error) {
	for _, f := range []struct {
		name               string
		value              *int
		zero, least, limit int
	}{
		{"Slots", &o.Slots, 1024, 1, MaxSlots},
		{"Bytes", &o.Bytes, 4 << 20, 4 << 10, 1 << 40},
		{"MaxBodyBytes", &o.MaxBodyBytes, 64 << 10, minBodyBytes, maxBodyBytes},
		{"MinBodyBytes", &o.MinBodyBytes, 256, minBodyBytes, maxBodyBytes},
	} {
		if *f.value == 0 {
			*f.value = f.zero
		}
		if *f.value < f.least || *f.value > f.limit {
			return o, fmt.Errorf("dedup: Options.%s is %d, want 0 or %d to %d", f.name, *f.value, f.least, f.limit)
		}
	}
	if o.Scope > maxVarint {
		return o, fmt.Errorf("dedup: Options.Scope is %d, want at most 2^62-1", o.Scope)
	}
	if len(o.Budgets) > maxBudgets {
		return o, fmt.Errorf("dedup: Options.Budgets has %d elements, want at most %d", len(o.Budgets), maxBudgets)
	}
	return o, nil
}

// A Field is a part of a message. The fields of a message are given in order and cover all of it; no fields at all are
// the same as one. Fields are what goes into slots, and where a delta expects changes to begin and to end.
type Field struct {
	End int // where the field ends, in bytes from the start of the message; it begins where the previous one ends
	// Like, if it is not zero, says that the field resembles others with the same number: it is sent as the difference
	// from an earlier one if that pays. A number for method and field will do. Tables only.
	Like uint64
	// Secret fields are never remembered, compared or referred to. A message that has one is never a base.
	Secret bool
}

// checkFields panics if fields do not cover a message: that is a mistake of ours, peers have no say in it.
func checkFields(msg []byte, fields []Field) {
	at := 0
	for _, f := range fields {
		if f.End < at {
			panic("dedup: fields are out of order")
		}
		at = f.End
	}
	if len(fields) > 0 && at != len(msg) {
		panic("dedup: fields do not cover the message")
	}
}
