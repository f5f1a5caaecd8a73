package transfer

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// inProcess runs the test of the same name in another process, in which child is called instead; what it prints comes
// line by line. attr may be nil.
func inProcess(t *testing.T, attr *syscall.SysProcAttr, env ...string) (cmd *exec.Cmd, lines *bufio.Scanner) {
	t.Helper()
	cmd = exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v", "-test.timeout=60s")
	cmd.Env = append(os.Environ(), append(env, "TRANSFER_CHILD=1")...)
	cmd.SysProcAttr = attr
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.ENOSPC) { // no more namespaces
			t.Skipf("NOT TESTED: this system does not permit the process: %v", err)
		}
		t.Fatal(err)
	}
	return cmd, bufio.NewScanner(out)
}

func isChild() bool { return os.Getenv("TRANSFER_CHILD") != "" }

// TestResumeAfterKill kills a process in the middle of a transfer.
func TestResumeAfterKill(t *testing.T) {
	const size = 48*testLeaf + 5
	data := random(size)
	m := Manifest{ID: idOf("x"), Size: size, Leaf: testLeaf}
	f := newLoopback(t, Bytes(data), testLeaf)
	if isChild() {
		f.onChunk = func(ctx context.Context, c *Chunk) error {
			if c.Offset == 30*testLeaf+ChunkBytes { // all before is sent
				fmt.Println("now")
				<-ctx.Done()
			}
			return nil
		}
		t.Error(Receive(t.Context(), m, f, NewFile(os.Getenv("TRANSFER_PATH")), oneStream))
		return
	}
	nothingLeft(t)
	path := filepath.Join(t.TempDir(), "object")
	cmd, lines := inProcess(t, nil, "TRANSFER_PATH="+path)
	for lines.Scan() && lines.Text() != "now" {
	}
	// The journal follows within a write or two.
	for deadline := time.Now().Add(20 * time.Second); ; {
		j, err := readJournal(path + journalSuffix)
		if err == nil && j.have.Bytes() >= 30*testLeaf {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the journal has %d bytes, %v", j.have.Bytes(), err)
		}
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err == nil {
		t.Error("the process ended by itself")
	}
	receive(t, m, f, NewFile(path), oneStream)
	wantFile(t, path, data)
	if again := f.sent.Load() - (size - 30*testLeaf - ChunkBytes); again > testLeaf {
		t.Errorf("%d bytes were sent again", again)
	}
}

// TestDiskFull fills a file system of 8 MiB, in a process that may mount one.
func TestDiskFull(t *testing.T) {
	if !isChild() {
		cmd, lines := inProcess(t, &syscall.SysProcAttr{
			Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
			UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
			GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
		}, "TRANSFER_PATH="+t.TempDir())
		var output strings.Builder
		for lines.Scan() {
			fmt.Fprintln(&output, lines.Text())
		}
		err := cmd.Wait()
		switch {
		case strings.Contains(output.String(), "--- SKIP"):
			t.Skipf("NOT TESTED: %s", &output)
		case err != nil || !strings.Contains(output.String(), "--- PASS: TestDiskFull/"):
			t.Errorf("%v\n%s", err, &output)
		}
		return
	}
	const disk = 8 << 20
	dir := os.Getenv("TRANSFER_PATH")
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=8m"); err != nil {
		t.Skipf("mount: %v", err)
	}
	none := budget(t, 0, 0)
	nothingLeft(t, none)
	data := random(disk + 1)
	wantSpaceError := func(t *testing.T, err error, path string) {
		t.Helper()
		var se *SpaceError
		if !errors.As(err, &se) || !errors.Is(err, syscall.ENOSPC) || se.Path != path || se.Free < 0 || se.Free > disk || se.Need <= se.Free {
			t.Errorf("got %v", err)
		}
	}
	t.Run("known before a byte is asked for", func(t *testing.T) {
		for _, dst := range []Destination{NewBuffer(none, dir), NewFile(filepath.Join(dir, "object"))} {
			f := newLoopback(t, Bytes(data), 0)
			err := Receive(t.Context(), Manifest{Size: disk + 1}, f, dst, Options{})
			path := dir
			if file, ok := dst.(*File); ok {
				path = file.Path()
			}
			wantSpaceError(t, err, path)
			if list, _ := os.ReadDir(dir); len(list) != 0 || f.requests.Load() != 0 {
				t.Errorf("%d requests, left behind: %v", f.requests.Load(), list)
			}
		}
	})
	t.Run("in the middle of an object of unknown size", func(t *testing.T) {
		b := NewBuffer(none, dir)
		err := Receive(t.Context(), Manifest{Size: -1}, newLoopback(t, &streamSource{Bytes: data}, 0), b, Options{})
		wantSpaceError(t, err, dir)
		if b.Have() != disk { // all but the last byte
			t.Errorf("%d bytes are verified", b.Have())
		}
		if err := b.Close(); err != nil {
			t.Error(err)
		}
		file := NewFile(filepath.Join(dir, "object"))
		err = Receive(t.Context(), Manifest{Size: -1}, newLoopback(t, &streamSource{Bytes: data}, 0), file, Options{})
		wantSpaceError(t, err, file.Path()+partSuffix)
		if err := file.Discard(); err != nil {
			t.Error(err)
		}
	})
	t.Run("while a producer is spooled", func(t *testing.T) {
		s := spool(t, strings.NewReader(string(data)), SpoolOptions{Budget: none, Dir: dir})
		b := NewBuffer(nil, "")
		defer b.Close()
		wantSpaceError(t, Receive(t.Context(), Manifest{Size: -1}, newLoopback(t, s, 0), b, Options{}), dir)
	})
	t.Run("and all space is free again", func(t *testing.T) {
		var st syscall.Statfs_t
		if err := syscall.Statfs(dir, &st); err != nil || st.Bfree != st.Blocks {
			t.Errorf("%d of %d blocks are free, %v", st.Bfree, st.Blocks, err)
		}
		b := NewBuffer(none, dir)
		defer b.Close()
		receive(t, Manifest{Size: disk}, newLoopback(t, Bytes(data[:disk]), 0), b, Options{})
		wantBytes(t, b, data[:disk])
	})
}
