package transfer_test

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/mycel-rpc/mycel/largeobj/internal/transfer"
)

// local is a Fetcher whose peer is in the same process. It keeps all chunks of an answer, which a real one does not.
type local struct {
	src    transfer.Source
	leaves *transfer.Leaves
}

func (l local) Fetch(ctx context.Context, ranges []transfer.Range) (transfer.Chunks, error) {
	a := new(answer)
	err := transfer.Serve(ctx, l.src, l.leaves, ranges, func(c *transfer.Chunk) error {
		a.chunks = append(a.chunks, transfer.Chunk{
			Offset: c.Offset, Data: append([]byte(nil), c.Data...), Leaf: append([]byte(nil), c.Leaf...), Size: c.Size,
		})
		return nil
	})
	return a, err
}

type answer struct{ chunks []transfer.Chunk }

func (a *answer) Next(c *transfer.Chunk) error {
	if len(a.chunks) == 0 {
		return io.EOF
	}
	next := a.chunks[0]
	a.chunks = a.chunks[1:]
	next.Data = append(c.Data[:0], next.Data...)
	*c = next
	return nil
}

func (a *answer) Close() {}

func ExampleReceive() {
	spool, err := transfer.NewSpool(strings.NewReader("as large as you like"), transfer.SpoolOptions{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer spool.Close()
	leaves, err := transfer.NewLeaves(transfer.DefaultLeafBytes)
	if err != nil {
		fmt.Println(err)
		return
	}

	dst := transfer.NewBuffer(nil, "")
	defer dst.Close()
	manifest := transfer.Manifest{ID: [16]byte{1}, Size: -1}
	if err := transfer.Receive(context.Background(), manifest, local{spool, leaves}, dst, transfer.Options{}); err != nil {
		fmt.Println(err)
		return
	}
	b, err := dst.Bytes()
	fmt.Println(string(b), err)
	// Output: as large as you like <nil>
}
