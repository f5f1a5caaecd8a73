package compress_test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/mycel-rpc/mycel/wire/compress"
)

func Example() {
	plain := []byte(strings.Repeat("all that is known about mycelium; ", 50))
	body, codec := plain, compress.None
	if b, ok := compress.Try(nil, plain, compress.S2); ok {
		body, codec = b, compress.S2
	}
	got, err := compress.Decode(nil, body, codec, 1<<20)
	fmt.Println(codec, len(body) < len(plain)/10, bytes.Equal(got, plain), err)

	_, err = compress.Decode(nil, body, codec, 1000)
	fmt.Println(err)
	// Output:
	// s2 true true <nil>
	// wire: plain size of s2 of 1700 exceeds the limit of 1000
}

func ExampleAppendColumn() {
	temperatures := make([]float64, 1000)
	for i := range temperatures {
		temperatures[i] = float64(2150+i%5) / 100
	}
	b, err := compress.AppendColumn(nil, temperatures, 8*len(temperatures))
	if err != nil {
		fmt.Println(err)
		return
	}
	got, err := compress.DecodeColumn[float64](nil, b, 1<<20)
	fmt.Println(8*len(temperatures)/len(b), len(got), got[4], err)
	// Output: 20 1000 21.54 <nil>
}

func ExampleChooser() {
	chooser := compress.NewChooser(compress.S2, compress.Zstd) // one for each method and direction
	path := compress.Path{BytesPerSecond: 5e6}
	send := func(plain []byte) (body []byte, codec compress.Codec) {
		if codec = chooser.Choose(len(plain), path); codec == compress.None {
			return plain, codec
		}
		start := time.Now()
		body, ok := compress.Try(nil, plain, codec)
		if !ok {
			body = plain
		}
		spent := time.Since(start)
		chooser.Observe(codec, len(plain), len(body), spent+spent/3)
		if !ok {
			return plain, compress.None
		}
		return body, codec
	}

	text := []byte(strings.Repeat("hyphae of the same colony exchange nutrients\n", 100))
	for range 100 {
		send(text)
	}
	fmt.Println(chooser.Stats(path).Codec != compress.None)
	// Output: true
}

// ExampleBlockEncoder: the first block of a large body is on its way while the others are still encoded.
func ExampleBlockEncoder() {
	body := bytes.Repeat([]byte("a line of a log\n"), 20_000)
	e, err := compress.NewBlockEncoder(compress.S2)
	if err != nil {
		fmt.Println(err)
		return
	}
	var sent []byte
	for piece := range slices.Chunk(body, compress.BlockBytes) {
		sent = e.Append(sent, piece) // and send it
	}
	d, got := compress.NewBlockDecoder(1<<20), []byte(nil)
	for len(sent) > 0 {
		var n int
		if got, n, err = d.Decode(got, sent); err != nil { // wire.ErrTruncated: read more
			fmt.Println(err)
			return
		}
		sent = sent[n:]
	}
	fmt.Println(bytes.Equal(got, body))
	// Output: true
}

// An average forgets what made one sample slow.
func ExampleAverage() {
	var a compress.Average
	for _, nanos := range []float32{100, 104, 5000, 100} {
		a.Observe(0.5, nanos, 1./4, false)
	}
	size, nanos, _ := a.Load()
	fmt.Printf("%.2f %.0f\n", size, nanos)
	// Output: 0.50 119
}
