package largeobj

import (
	"bytes"
	"context"
	"errors"
	"io"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/mycel-rpc/mycel/largeobj/internal/transfer"
	"github.com/mycel-rpc/mycel/streams"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A fakePeer makes the calls of a session directly to the store at the other end.
type fakePeer struct{ far *Session }

func (p *fakePeer) Fetch(ctx context.Context, q *FetchRequest) (Chunks, error) {
	ctx, cancel := context.WithCancel(ctx)
	r := &fakeChunks{cancel: cancel, chunks: make(chan Chunk), end: make(chan error, 1)}
	go func() { // ends when everything is sent, or with ctx; Close waits
		r.end <- p.far.store.Serve(ctx, q, func(c *Chunk) error {
			sent := Chunk{Offset: c.Offset, Data: bytes.Clone(c.Data), Leaf: bytes.Clone(c.Leaf), Size: c.Size}
			select {
			case r.chunks <- sent:
				return nil
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		})
	}()
	return r, nil
}

func (p *fakePeer) Release(_ context.Context, q *ReleaseRequest) error {
	p.far.Released(q)
	return nil
}

type fakeChunks struct {
	cancel context.CancelFunc
	chunks chan Chunk
	end    chan error
}

func (r *fakeChunks) Next(c *Chunk) error {
	select {
	case *c = <-r.chunks:
		return nil
	case err := <-r.end:
		r.end <- err
		if err == nil {
			return io.EOF
		}
		return err
	}
}

func (r *fakeChunks) Close() {
	r.cancel()
	r.end <- <-r.end
}

// pair returns the sessions of both ends of a connection in memory, each with a store of its own.
func pair(t testing.TB, conf Config) (near, far *Session) {
	t.Helper()
	conf.StreamsOnly = true
	ends := make([]*Session, 0, 2)
	config := func() streams.Config {
		store, err := New(conf)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(store.Close)
		return streams.Config{NewOwner: func(c *streams.Conn) any {
			s := store.NewSession(c, &fakePeer{})
			ends = append(ends, s)
			return s
		}}
	}
	c, s, err := streams.Pipe(config(), config())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close(); s.Close() })
	near, far = c.Owner().(*Session), s.Owner().(*Session)
	near.peer.(*fakePeer).far, far.peer.(*fakePeer).far = far, near
	return near, far
}

// send passes a reference from one end to the other.
func send(t testing.TB, r Ref, from, to *Session, handler bool) (Ref, *Scope) {
	t.Helper()
	out, in := from.NewScope(false, false), to.NewScope(handler, true)
	out.Begin()
	b, err := r.AppendLinked(nil, out)
	if err != nil {
		t.Fatal(err)
	}
	var got Ref
	if err := got.DecodeLinked(b, in); err != nil {
		t.Fatal(err)
	}
	return got, in
}

func objects(s *Session) int { return s.store.Stats().Objects }

func wait(t testing.TB, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !done(); runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// TestScopeEndsWhatItHolds: what a handler received and made ends with the call, unless it is kept.
func TestScopeEndsWhatItHolds(t *testing.T) {
	near, far := pair(t, Config{})
	made, err := near.store.FromBytes(t.Context(), []byte("data"))
	if err != nil {
		t.Fatal(err)
	}
	got, scope := send(t, made, near, far, true)
	kept, scope2 := send(t, made, near, far, true)
	kept.Keep()
	ctx := context.WithValue(t.Context(), ScopeKey{}, scope)
	if o, err := far.store.Create(ctx, 10); err != nil || objects(far) != 2 {
		t.Fatalf("%v, %v: %d objects", o, err, objects(far))
	}
	scope.End()
	scope2.End()
	if _, err := got.Open(t.Context()); !errors.Is(err, ErrReleased) {
		t.Errorf("Open after the call: %v", err)
	}
	if n := objects(far); n != 1 {
		t.Errorf("%d objects after both calls, want the one that is kept", n)
	}
	v, err := kept.Open(t.Context())
	if err != nil || string(v.Bytes()) != "data" {
		t.Errorf("what is kept: %v", err)
	}
	v.Release()
	made.Release()
	wait(t, "the end of all", func() bool { return objects(near)+objects(far) == 0 })
}

// TestGivenUpResponsesAreTakenBack: in either order of the answer and the caller's giving up.
func TestGivenUpResponsesAreTakenBack(t *testing.T) {
	for _, answeredFirst := range []bool{true, false} {
		near, far := pair(t, Config{})
		scope := far.NewScope(true, true)
		ctx := context.WithValue(t.Context(), ScopeKey{}, scope)
		made, err := far.store.FromBytes(ctx, []byte("data"))
		if err != nil {
			t.Fatal(err)
		}
		scope.Begin()
		if _, err := made.AppendLinked(nil, scope); err != nil {
			t.Fatal(err)
		}
		scope.End()
		if n := objects(far); n != 1 {
			t.Errorf("%d objects are on their way, want 1", n)
		}
		if answeredFirst {
			scope.Answered()
			scope.GivenUp()
		} else {
			scope.GivenUp()
			scope.Answered()
		}
		if n := objects(far) + objects(near); n != 0 {
			t.Errorf("answered first %v: %d objects are left", answeredFirst, n)
		}
	}
}

// TestLeasesAreBounded: a peer that gives nothing back cannot make this side hold more than MaxLeases objects for it.
func TestLeasesAreBounded(t *testing.T) {
	near, far := pair(t, Config{MaxLeases: 3})
	made, err := near.store.FromBytes(t.Context(), []byte("data"))
	if err != nil {
		t.Fatal(err)
	}
	defer made.Release()
	var got []Ref
	for range 3 { // different ones: the second reference to one that is there is given back at once
		other, err := near.store.FromBytes(t.Context(), []byte("other"))
		if err != nil {
			t.Fatal(err)
		}
		defer other.Release()
		r, _ := send(t, other, near, far, false)
		got = append(got, r)
	}
	scope := near.NewScope(false, false)
	scope.Begin()
	var limit *LimitError
	if _, err := made.AppendLinked(nil, scope); !errors.As(err, &limit) || limit.Knob != "MaxLeases" || limit.Limit != 3 {
		t.Errorf("the fourth: %v", err)
	}
	got[0].Release()
	got[1].Release()
	got[2].Release()
	wait(t, "a release", func() bool { _, err := made.AppendLinked(nil, scope); return err == nil })
}

// TestSizeLimits: name their knob, on both sides.
func TestSizeLimits(t *testing.T) {
	near, far := pair(t, Config{MaxObjectBytes: 10})
	var limit *LimitError
	if _, err := near.store.Create(t.Context(), 11); !errors.As(err, &limit) || limit.Knob != "MaxObjectBytes" {
		t.Errorf("Create: %v", err)
	}
	if _, err := near.store.FromBytes(t.Context(), make([]byte, 11)); !errors.As(err, &limit) {
		t.Errorf("FromBytes: %v", err)
	}
	far.store.cfg.MaxObjectBytes = 5
	made, err := near.store.FromBytes(t.Context(), make([]byte, 10))
	if err != nil {
		t.Fatal(err)
	}
	defer made.Release()
	got, _ := send(t, made, near, far, false)
	defer got.Release()
	if _, err := got.Open(t.Context()); !errors.As(err, &limit) || limit.Limit != 5 {
		t.Errorf("Open: %v", err)
	}
	if err := got.Download(t.Context(), t.TempDir()+"/x"); !errors.As(err, &limit) {
		t.Errorf("Download: %v", err)
	}
}

// TestObjectsOfALostConnection: are held for the ResumeWindow, in which whoever knows the key can fetch them.
func TestObjectsOfALostConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := pair(t, Config{ResumeWindow: time.Minute})
		made, err := near.store.FromBytes(t.Context(), []byte("data"))
		if err != nil {
			t.Fatal(err)
		}
		got, _ := send(t, made, near, far, false)
		made.Release()
		near.conn.Close()
		far.conn.Close()
		time.Sleep(59 * time.Second)
		v, err := got.Open(t.Context()) // the fake peer has no connection to lose
		if err != nil || string(v.Bytes()) != "data" {
			t.Fatalf("within the window: %v", err)
		}
		v.Release()
		if objects(near) != 1 {
			t.Errorf("%d objects within the window", objects(near))
		}
		time.Sleep(2 * time.Second)
		if objects(near) != 0 {
			t.Errorf("%d objects after the window", objects(near))
		}
	})
}

// FuzzReference: whatever arrives as a reference gives an error or a Ref, and leaves nothing behind.
func FuzzReference(f *testing.F) {
	near, far := pair(f, Config{})
	made, err := near.store.FromBytes(f.Context(), []byte("data"))
	if err != nil {
		f.Fatal(err)
	}
	scope := near.NewScope(false, false)
	scope.Begin()
	valid, err := made.AppendLinked(nil, scope)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(valid)
	f.Add(append(bytes.Clone(valid), make([]byte, 32)...))
	f.Add([]byte{})
	f.Add(append([]byte{refVersion | flagHandle}, make([]byte, 60)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		before := objects(far)
		var r Ref
		if err := r.DecodeLinked(b, far.NewScope(false, false)); err == nil && len(b) > 0 {
			if r.Size() < -1 || r.Size() > transfer.MaxSize*2 {
				t.Errorf("size %d", r.Size())
			}
			r.Release()
		}
		if n := objects(far); n != before {
			t.Errorf("%d objects, %d before", n, before)
		}
	})
}

// TestNumbersInPlace: bytes are seen as numbers where they are, or not at all.
func TestNumbersInPlace(t *testing.T) {
	b := make([]byte, 16)
	o, err := Default().Create(t.Context(), 16)
	if err != nil {
		t.Fatal(err)
	}
	defer o.Release()
	As[float64](o.Bytes())[1] = 1
	if x := As[uint64](o.Bytes())[1]; x != 0x3ff0000000000000 {
		t.Errorf("%x", x)
	}
	if n := len(As[int16](nil)); n != 0 {
		t.Errorf("%d numbers in nothing", n)
	}
	for name, f := range map[string]func(){
		"a part of a number": func() { As[float64](b[:12]) },
		"odd alignment":      func() { As[float32](b[1:9]) },
		"frozen":             func() { o.Freeze(); o.Bytes() },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", name)
				}
			}()
			f()
		}()
	}
	if _, err := o.WriteAt(b, 0); err == nil {
		t.Error("WriteAt on a frozen object")
	}
}
