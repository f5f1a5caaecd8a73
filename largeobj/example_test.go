package largeobj_test

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/mycel-rpc/mycel/largeobj"
)

func ExampleCreate() {
	obj, err := largeobj.Create(context.Background(), 4*8)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer obj.Release()
	for i, x := range []float64{1, 2, 3, 4} {
		largeobj.As[float64](obj.Bytes())[i] = x / 2
	}
	ref := obj.Freeze() // from here on it is sent, and read
	fmt.Println(ref.Size(), "bytes")
	// Output: 32 bytes
}

func ExampleRef_Open() {
	ctx := context.Background()
	ref, err := largeobj.FromBytes(ctx, []byte("a large image"))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer ref.Release()
	v, err := ref.Open(ctx, largeobj.WithProgress(func(p largeobj.Progress) { fmt.Println(p.Done, "of", p.Total) }))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer v.Release()
	fmt.Printf("%s, %d bytes\n", v.Bytes(), v.Size())
	// Output: a large image, 13 bytes
}

func ExampleFromReader() {
	ctx := context.Background()
	ref, err := largeobj.FromReader(ctx, strings.NewReader("produced as it is sent"))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer ref.Release()
	v, err := ref.Open(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer v.Release()
	b, err := io.ReadAll(v.Reader())
	fmt.Printf("%s %v\n", b, err)
	// Output: produced as it is sent <nil>
}

func ExampleRef_Reader() {
	ctx := context.Background()
	ref, err := largeobj.FromBytes(ctx, []byte("header and a long body"))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer ref.Release()
	header, err := ref.Reader(ctx, 0, 6) // the rest does not travel
	if err != nil {
		fmt.Println(err)
		return
	}
	defer header.Close()
	b, err := io.ReadAll(header)
	fmt.Printf("%s %v\n", b, err)
	// Output: header <nil>
}

func ExampleOpenDir() {
	dir, err := os.MkdirTemp("", "objects")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	if err := os.WriteFile(filepath.Join(dir, "weights.bin"), []byte("0123456789"), 0o600); err != nil {
		fmt.Println(err)
		return
	}
	d, err := largeobj.OpenDir(dir)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer d.Close()
	_, err = d.Ref(context.Background(), "../secret")
	fmt.Println("outside:", err != nil)
	ref, err := d.Ref(context.Background(), "weights.bin")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer ref.Release()
	fmt.Println(ref.Size(), ref.Download(context.Background(), filepath.Join(dir, "copy.bin")))
	// Output:
	// outside: true
	// 10 <nil>
}

func ExampleNew() {
	// A server for many tenants: little memory, nothing shared.
	store, err := largeobj.New(largeobj.Config{StreamsOnly: true, MemoryBytes: 64 << 20, InMemoryBytes: 8 << 20})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer store.Close() // framework.ServerConfig{Objects: store}
	fmt.Println(store.Stats().Objects, "objects")
	// Output: 0 objects
}
