package dedup_test

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/mycel-rpc/mycel/dedup"
)

// A table carries a field that is sent again and again once only.
func Example() {
	process := dedup.NewBudget(256 << 20)
	connection := dedup.NewBudget(8 << 20)
	opts := dedup.Options{Scope: 1, Budgets: []*dedup.Budget{connection, process}}
	sender, err := dedup.NewEncoder(opts)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer sender.Close()
	receiver, err := dedup.NewDecoder(opts)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer receiver.Close()

	settings := bytes.Repeat([]byte("key=value "), 100)
	for i := range 4 {
		head := fmt.Appendf(nil, "request %d: ", i)
		msg := append(head, settings...)
		frame := sender.Append(nil, msg, []dedup.Field{{End: len(head)}, {End: len(msg)}})
		got, err := receiver.Decode(nil, frame, 1<<20)
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(len(msg), "bytes, sent", len(frame), bytes.Equal(got, msg))
		if b := receiver.AppendNotices(nil, 16<<10); len(b) > 0 { // acknowledgements, on an ordered stream
			if err := sender.Handle(b); err != nil {
				fmt.Println(err)
				return
			}
		}
		if b := sender.AppendNotices(nil, 128<<10); len(b) > 0 {
			if _, err := receiver.Handle(b); err != nil {
				fmt.Println(err)
				return
			}
		}
	}
	// Output:
	// 1011 bytes, sent 1012 true
	// 1011 bytes, sent 1024 true
	// 1011 bytes, sent 22 true
	// 1011 bytes, sent 22 true
}

// The messages of one direction of a stream as differences.
func ExampleDeltaEncoder() {
	sender, err := dedup.NewDeltaEncoder(dedup.DeltaOptions{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer sender.Close()
	receiver, err := dedup.NewDeltaDecoder(dedup.DeltaOptions{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer receiver.Close()

	for i := range 3 {
		msg := fmt.Appendf(bytes.Repeat([]byte("widget "), 60), "updates: %d", i)
		frame := sender.Append(nil, msg, nil)
		got, err := receiver.Decode(nil, frame, 1<<20)
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(len(msg), "bytes, sent", len(frame), bytes.Equal(got, msg))
	}
	// Output:
	// 430 bytes, sent 431 true
	// 430 bytes, sent 12 true
	// 430 bytes, sent 12 true
}

// A body that the receiver had to forget is asked for; what cannot come any more fails the call.
func ExampleMissError() {
	receiver, err := dedup.NewDecoder(dedup.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer receiver.Close()
	reference := []byte{1, 0, 0, 0, 0, 0, 0, 1<<2 | 1, 3} // an empty message that is generation 3 of slot 1
	_, err = receiver.Decode(nil, reference, 1<<20)
	if miss := (*dedup.MissError)(nil); errors.As(err, &miss) {
		fmt.Println(miss, "- wait:", !miss.Lost)
	}
	fmt.Printf("%x\n", receiver.AppendNotices(nil, 64))
	if _, err := receiver.Handle([]byte{4, 0, 5, 1, 3}); err != nil { // gone
		fmt.Println(err)
	}
	_, err = receiver.Decode(nil, reference, 1<<20)
	fmt.Println(err)
	// Output:
	// dedup: generation 3 of slot 1 is missing and asked for - wait: true
	// 0500020103
	// dedup: generation 3 of slot 1 is missing and lost
}
