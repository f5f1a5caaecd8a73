package transfer

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// A served directory with a file "sub/object" of the given bytes.
func served(t *testing.T, data []byte) (d *Dir, path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "sub", "object")
	if err := os.Mkdir(filepath.Dir(path), 0o777); err != nil {
		t.Fatal(err)
	}
	writeOld(t, path, data)
	d, err := OpenDir(filepath.Dir(filepath.Dir(path)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d, path
}

// writeOld writes a file that was last changed some time ago.
func writeOld(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o666); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(path, time.Time{}, time.Unix(1000, 0)); err != nil {
		t.Fatal(err)
	}
}

// writeNow overwrites the first bytes of a file.
func writeNow(t *testing.T, path, data string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(data); err != nil {
		t.Fatal(err)
	}
}

func openIn(t *testing.T, d *Dir, name string) (*DirFile, Manifest) {
	t.Helper()
	f, m, err := d.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f, m
}

func TestFilesAreObjects(t *testing.T) {
	nothingLeft(t)
	data := random(9<<20 + 5)
	d, path := served(t, data)
	f, m := openIn(t, d, "sub/object")
	for _, to := range []*Buffer{NewBuffer(nil, ""), NewBuffer(budget(t, 0, 0), t.TempDir())} {
		receive(t, m, &loopback{src: f, leaves: f.Leaves()}, to, Options{})
		wantBytes(t, to, data)
		if err := to.Close(); err != nil {
			t.Error(err)
		}
	}
	// The same file is the same object, and its hashes are known.
	again, err := OpenDir(filepath.Dir(filepath.Dir(path)))
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if _, m2 := openIn(t, again, "sub/object"); m2 != m {
		t.Errorf("%+v after a restart, %+v before", m2, m)
	}
	if f2, _ := openIn(t, d, "sub/object"); f2.Leaves() != f.Leaves() || len(f.Leaves().mu.sums) != 3 {
		t.Errorf("%d hashes are known", len(f.Leaves().mu.sums))
	}
	// Any change makes another one.
	ids := map[[16]byte]string{m.ID: "original"}
	for _, c := range []struct {
		name   string
		change func()
	}{
		{"another time", func() { os.Chtimes(path, time.Time{}, time.Unix(1000, 1)) }},
		{"a byte more", func() { writeOld(t, path, append(data, 1)) }},
		{"another file", func() { os.Rename(path, path+"2"); writeOld(t, path, data) }},
		{"just now", func() { os.WriteFile(path, data, 0o666) }},
	} {
		c.change()
		_, m := openIn(t, d, "sub/object")
		if other, ok := ids[m.ID]; ok {
			t.Errorf("%q has the ID of %q", c.name, other)
		}
		ids[m.ID] = c.name
	}
}

// TestAFileThatChangesIsAnError changes a file while it is served, in the middle of its second leaf.
func TestAFileThatChangesIsAnError(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(path string) error
	}{
		{"written to", func(path string) error {
			f, err := os.OpenFile(path, os.O_WRONLY, 0)
			if err != nil {
				return err
			}
			defer f.Close()
			_, err = f.WriteAt([]byte("new"), 6<<20)
			return err
		}},
		{"truncated", func(path string) error { return os.Truncate(path, 5<<20) }},
		{"truncated to nothing", func(path string) error { return os.Truncate(path, 0) }},
		{"made longer", func(path string) error { return os.Truncate(path, 100<<20) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			nothingLeft(t)
			data := random(9<<20 + 5)
			d, path := served(t, data)
			f, m := openIn(t, d, "sub/object")
			l := &loopback{src: f, leaves: f.Leaves()}
			l.onChunk = func(_ context.Context, chunk *Chunk) error {
				if chunk.Offset == 5<<20 {
					return c.change(path)
				}
				return nil
			}
			dst := NewBuffer(nil, "")
			defer dst.Close()
			if err := Receive(t.Context(), m, l, dst, Options{}); !errors.Is(err, ErrChanged) || dst.Have() != 4<<20 {
				t.Errorf("got %v, %d bytes are verified", err, dst.Have())
			}
		})
	}
}

func TestAFileThatIsReplacedIsServedToTheEnd(t *testing.T) {
	nothingLeft(t)
	data := random(9<<20 + 5)
	d, path := served(t, data)
	f, m := openIn(t, d, "sub/object")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	writeOld(t, path, random(9<<20+5))
	dst := NewBuffer(nil, "")
	defer dst.Close()
	receive(t, m, &loopback{src: f, leaves: f.Leaves()}, dst, Options{})
	wantBytes(t, dst, data)
}

func TestNamesDoNotLeadOut(t *testing.T) {
	nothingLeft(t)
	d, path := served(t, random(10))
	root := filepath.Dir(filepath.Dir(path))
	outside := filepath.Join(t.TempDir(), "secret")
	writeOld(t, outside, []byte("secret"))
	links := map[string]string{
		"link":             outside,
		"relative":         filepath.Join("..", filepath.Base(filepath.Dir(outside)), "secret"),
		"directory":        filepath.Dir(outside),
		"loop":             "loop",
		"inside":           filepath.Join("sub", "object"),
		"null":             os.DevNull,
		"sub/outwards":     "../..",
		"sub/deep":         "../sub/../../" + filepath.Base(root) + "/sub/object",
		"sub/inside-above": "../sub/object",
	}
	for name, target := range links {
		if err := os.Symlink(target, filepath.Join(root, name)); err != nil {
			t.Fatal(err)
		}
	}
	special(t, root)
	for _, name := range []string{
		"", ".", "/", "..", "../" + filepath.Base(root) + "/sub/object", "sub/../sub/object", "/etc/passwd", outside,
		"sub", "sub/", "./sub/object", "sub//object", "sub/object/", "sub/object\x00", "sub\x00/object", "missing", "sub/missing",
		"link", "relative", "directory", "directory/secret", "loop", "null", "sub/outwards", "sub/deep", "fifo", "socket",
	} {
		f, m, err := d.Open(name)
		if err == nil {
			f.Close()
			t.Errorf("opened %q: %+v", name, m)
		}
		if pe := (*fs.PathError)(nil); err != nil && !errors.As(err, &pe) {
			t.Errorf("%q: %T", name, err)
		}
	}
	for _, name := range []string{"inside", "sub/inside-above", "sub/object"} {
		openIn(t, d, name)
	}
	if _, err := OpenDir(filepath.Join(root, "missing")); err == nil {
		t.Error("opened a directory that is not there")
	}
}
