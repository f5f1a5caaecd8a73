// Package dedup will hold what two sides remember of each other's content: slots for repeated objects, and delta
// against the previous message. It has no code yet.
//
// It is level 0, beside wire: it will know neither connections nor calls.
package dedup
