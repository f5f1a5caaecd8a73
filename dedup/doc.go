// Package dedup is the room for what two sides remember of each other's content; it has no code yet.
//
// It will hold slots for repeated objects and delta against the previous message. It is level 0, beside wire: it
// will know neither connections nor calls.
package dedup
