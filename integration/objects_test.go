package integration

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"iter"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mycel-rpc/mycel/framework"
	"github.com/mycel-rpc/mycel/largeobj"
)

type (
	// Parcel is a message with a large object.
	Parcel struct {
		Name   string
		Object largeobj.Ref
	}
	// Parcels has several.
	Parcels struct{ All []Parcel }
	// Digest is what a handler has seen of an object.
	Digest struct {
		Size  int64
		Sum   uint64
		Where string
	}
)

var (
	Weigh   = framework.NewUnary[Parcel, Digest]("integration.v1/Weigh")
	Make    = framework.NewUnary[Number, Parcel]("integration.v1/Make")
	Return  = framework.NewUnary[Parcel, Parcel]("integration.v1/Return")
	Relay   = framework.NewUnary[Parcel, Digest]("integration.v1/Relay")
	Convey  = framework.NewBidi[Parcel, Digest]("integration.v1/Convey")
	Collect = framework.NewUnary[Parcels, Digest]("integration.v1/Collect")
)

// A road is a way for the bytes of objects to travel.
type road struct {
	name   string
	env    environment
	conf   largeobj.Config
	shared bool // through memory
}

var roads = []road{
	{"shared memory", overQUIC, largeobj.Config{}, true},
	{"shared memory, copied", overQUIC, largeobj.Config{Trust: largeobj.Copy}, true},
	{"streams", overQUIC, largeobj.Config{StreamsOnly: true}, false},
	{"shared memory, TCP", overTCP, largeobj.Config{}, true},
	{"streams, TCP", overTCP, largeobj.Config{StreamsOnly: true}, false},
	{"in process", inProcess, largeobj.Config{}, false},
}

func everyRoad(t *testing.T, test func(t *testing.T, r road)) {
	for _, r := range roads {
		t.Run(r.name, func(t *testing.T) { test(t, r) })
	}
}

// A carriage is a client and a server with a store each, as in two processes.
type carriage struct {
	*pair
	near, far *largeobj.Store // of the client, of the server
}

func newStore(t testing.TB, conf largeobj.Config) *largeobj.Store {
	t.Helper()
	s := must(largeobj.New(conf))(t, "store")
	t.Cleanup(s.Close)
	return s
}

// carry starts a client and a server. At the end of the test neither may hold an object.
func (r road) carry(t testing.TB, serve func(framework.Registrar, *largeobj.Store)) *carriage {
	t.Helper()
	checkBaseline(t)
	return r.carryFrom(t, newStore(t, r.conf), newStore(t, r.conf), serve)
}

// carryFrom is carry with stores that the client and the server share with others.
func (r road) carryFrom(t testing.TB, near, far *largeobj.Store, serve func(framework.Registrar, *largeobj.Store)) *carriage {
	t.Helper()
	c := &carriage{near: near, far: far}
	c.pair = r.env.start(t, setup{
		server: framework.ServerConfig{Objects: c.far}, client: framework.ClientConfig{Objects: c.near},
		serve: func(s framework.Registrar) { serve(s, c.far) },
		back:  func(s framework.Registrar) { serve(s, c.near) },
	})
	t.Cleanup(func() { c.wantNone(t) })
	if err := c.client.Connect(t.Context()); err != nil {
		t.Fatal(err)
	}
	if r.shared {
		eventually(t, "shared memory", func() bool { return c.near.Stats().Links > 0 && c.far.Stats().Links > 0 })
	}
	return c
}

// wantNone waits until neither side holds an object.
func (c *carriage) wantNone(t testing.TB) {
	t.Helper()
	eventually(t, fmt.Sprintf("the end of all objects: %+v %+v", c.near.Stats(), c.far.Stats()), func() bool { return c.near.Stats().Objects == 0 && c.far.Stats().Objects == 0 })
}

func eventually(t testing.TB, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(drainBound); !done(); runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

func digest(b []byte) uint64 {
	sum := sha256.Sum256(b)
	return binary.BigEndian.Uint64(sum[:])
}

func noise(n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{byte(n)})
	r.Read(b)
	return b
}

// weigh opens an object in a handler, which leaves the release to the framework.
func weigh(ctx context.Context, q *Parcel) (*Digest, error) {
	v, err := q.Object.Open(ctx)
	if err != nil {
		return nil, framework.Errorf(framework.Aborted, "%s: %w", q.Name, err)
	}
	return &Digest{Size: v.Size(), Sum: digest(v.Bytes()), Where: q.Name}, nil
}

func serveObjects(r framework.Registrar, store *largeobj.Store) {
	Weigh.Handle(r, weigh)
	Make.Handle(r, func(ctx context.Context, q *Number) (*Parcel, error) {
		o, err := largeobj.Create(ctx, int64(q.N)) // ends with the call, but for the receiver
		if err != nil {
			return nil, err
		}
		copy(o.Bytes(), noise(int(q.N)))
		return &Parcel{"made", o.Freeze()}, nil
	})
	Return.Handle(r, func(_ context.Context, q *Parcel) (*Parcel, error) { return q, nil })
	Convey.Handle(r, func(ctx context.Context, in iter.Seq2[*Parcel, error], out framework.Sender[Digest]) error {
		for q, err := range in {
			if err != nil {
				return err
			}
			d, err := weigh(ctx, q)
			if err != nil {
				return err
			}
			q.Object.Release()
			if err := out.Send(d); err != nil {
				return err
			}
		}
		return nil
	})
	Collect.Handle(r, func(ctx context.Context, q *Parcels) (*Digest, error) {
		sum := Digest{}
		for i := range q.All {
			d, err := weigh(ctx, &q.All[i])
			if err != nil {
				return nil, err
			}
			sum.Size += d.Size
			sum.Sum += d.Sum
		}
		return &sum, nil
	})
}

var objectSizes = []int{0, 1, 4095, 100 << 10, 4 << 20, 9<<20 + 7}

func TestObjectsInRequests(t *testing.T) {
	everyRoad(t, func(t *testing.T, r road) {
		c := r.carry(t, serveObjects)
		for _, size := range objectSizes {
			data := noise(size)
			for _, in := range []string{"heap", "place"} {
				var ref largeobj.Ref
				if in == "heap" {
					ref = must(c.near.FromBytes(t.Context(), data))(t, "FromBytes")
				} else {
					o := must(c.near.Create(t.Context(), int64(size)))(t, "Create")
					copy(o.Bytes(), data)
					ref = o.Freeze()
				}
				d := must(Weigh.Call(t.Context(), c.client, &Parcel{in, ref}))(t, "Weigh")
				if d.Size != int64(size) || d.Sum != digest(data) {
					t.Errorf("%d bytes in %s: the handler saw %d, sum equal: %v", size, in, d.Size, d.Sum == digest(data))
				}
				ref.Release()
			}
		}
		c.wantNone(t)
		if st := c.far.Stats(); r.shared != (st.SharedIn > 0) || r.shared != (st.StreamedIn <= 2) { // empty objects have no memory
			t.Errorf("objects travelled otherwise: %+v", st)
		}
	})
}

func TestObjectsInResponses(t *testing.T) {
	everyRoad(t, func(t *testing.T, r road) {
		c := r.carry(t, serveObjects)
		for _, size := range objectSizes {
			p := must(Make.Call(t.Context(), c.client, &Number{size}))(t, "Make")
			v := must(p.Object.Open(t.Context()))(t, "Open")
			if !bytes.Equal(v.Bytes(), noise(size)) || p.Object.Size() != int64(size) {
				t.Errorf("%d bytes came as %d, equal: %v", size, v.Size(), bytes.Equal(v.Bytes(), noise(size)))
			}
			v.Release()
			if _, err := p.Object.Open(t.Context()); !errors.Is(err, largeobj.ErrReleased) {
				t.Errorf("Open after Release: %v", err)
			}
		}
		p := must(Make.Call(t.Context(), c.client, &Number{5000}))(t, "Make")
		p.Object.Release() // without having been opened
	})
}

func TestObjectsInStreams(t *testing.T) {
	everyRoad(t, func(t *testing.T, r road) {
		c := r.carry(t, serveObjects)
		s := must(Convey.Open(t.Context(), c.client))(t, "Convey")
		defer s.Close()
		for i := range 20 {
			data := noise(10_000 * i)
			ref := must(c.near.FromBytes(t.Context(), data))(t, "FromBytes")
			if err := s.Send(&Parcel{"x", ref}); err != nil {
				t.Fatal(err)
			}
			d, err := s.Recv()
			if err != nil || d.Sum != digest(data) {
				t.Fatalf("message %d: %+v, %v", i, d, err)
			}
			ref.Release()
		}
		if err := s.CloseSend(); err != nil {
			t.Fatal(err)
		}
	})
}

// TestObjectsComeBack: what returns to its owner is the object itself, without a byte moved.
func TestObjectsComeBack(t *testing.T) {
	everyRoad(t, func(t *testing.T, r road) {
		c := r.carry(t, serveObjects)
		data := noise(1 << 20)
		ref := must(c.near.FromBytes(t.Context(), data))(t, "FromBytes")
		p := must(Return.Call(t.Context(), c.client, &Parcel{"boomerang", ref}))(t, "Return")
		v := must(p.Object.Open(t.Context()))(t, "Open")
		if b := v.Bytes(); &b[0] != &data[0] {
			t.Error("the object that came back is another one")
		}
		if st := c.far.Stats(); st.StreamedIn != 0 {
			t.Errorf("the server fetched it: %+v", st)
		}
		v.Release()
		ref.Release()
	})
}

// TestObjectsArePassedOn: a server that passes an object on moves its bytes only when the last one opens it.
func TestObjectsArePassedOn(t *testing.T) {
	everyRoad(t, func(t *testing.T, r road) {
		last := r.carry(t, serveObjects)
		first := r.carryFrom(t, newStore(t, r.conf), last.near, func(s framework.Registrar, _ *largeobj.Store) {
			Relay.Handle(s, func(ctx context.Context, q *Parcel) (*Digest, error) { return Weigh.Call(ctx, last.client, q) })
		})
		data := noise(3 << 20)
		ref := must(first.near.FromBytes(t.Context(), data))(t, "FromBytes")
		d := must(Relay.Call(t.Context(), first.client, &Parcel{"relayed", ref}))(t, "Relay")
		if d.Sum != digest(data) {
			t.Error("another content arrived")
		}
		ref.Release()
	})
}

// TestObjectsOfCallsThatNobodyServes: a request that is turned away gives its objects back.
func TestObjectsOfCallsThatNobodyServes(t *testing.T) {
	everyRoad(t, func(t *testing.T, r road) {
		refuse := func(next framework.ServerFunc) framework.ServerFunc {
			return func(ctx context.Context, info *framework.CallInfo, s framework.Stream) error {
				if strings.HasPrefix(info.Method, "mycel.") {
					return next(ctx, info, s)
				}
				return framework.Errorf(framework.PermissionDenied, "not for you")
			}
		}
		checkBaseline(t)
		c := &carriage{near: newStore(t, r.conf), far: newStore(t, r.conf)}
		c.pair = r.env.start(t, setup{
			server: framework.ServerConfig{Objects: c.far, Interceptors: []framework.ServerInterceptor{refuse}},
			client: framework.ClientConfig{Objects: c.near},
			serve:  func(s framework.Registrar) { serveObjects(s, c.far) },
		})
		for range 10 {
			ref := must(c.near.FromBytes(t.Context(), noise(1<<20)))(t, "FromBytes")
			_, err := Weigh.Call(t.Context(), c.client, &Parcel{"x", ref})
			wantCode(t, "Weigh", err, framework.PermissionDenied)
			ref.Release()
		}
		c.wantNone(t)
	})
}

// TestObjectsOfCallsThatWereGivenUp: whatever moment a caller gives up at, nothing stays behind.
func TestObjectsOfCallsThatWereGivenUp(t *testing.T) {
	everyRoad(t, func(t *testing.T, r road) {
		c := r.carry(t, serveObjects)
		for i := range 60 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i)*100*time.Microsecond)
			if p, err := Make.Call(ctx, c.client, &Number{300_000}); err == nil {
				p.Object.Release()
			}
			ref := must(c.near.FromBytes(t.Context(), noise(300_000)))(t, "FromBytes")
			_, _ = Weigh.Call(ctx, c.client, &Parcel{"x", ref}) // fails or not
			ref.Release()
			cancel()
		}
		c.wantNone(t)
	})
}

func TestManyObjectsAtOnce(t *testing.T) {
	everyRoad(t, func(t *testing.T, r road) {
		c := r.carry(t, serveObjects)
		var wg sync.WaitGroup
		for i := range 200 {
			wg.Go(func() {
				data := noise(50_000 + i)
				ref, err := c.near.FromBytes(t.Context(), data)
				if err != nil {
					t.Error(err)
					return
				}
				defer ref.Release()
				d, err := Weigh.Call(t.Context(), c.client, &Parcel{"x", ref})
				if err != nil || d.Sum != digest(data) {
					t.Errorf("object %d: %+v, %v", i, d, err)
				}
			})
		}
		wg.Wait()
		var all Parcels
		for i := range 50 {
			all.All = append(all.All, Parcel{"x", must(c.near.FromBytes(t.Context(), noise(i*1000)))(t, "FromBytes")})
		}
		if _, err := Collect.Call(t.Context(), c.client, &all); err != nil {
			t.Error(err)
		}
		for _, p := range all.All {
			p.Object.Release()
		}
	})
}

// TestKeptObjectsOutliveTheCall: until they are released.
func TestKeptObjectsOutliveTheCall(t *testing.T) {
	everyRoad(t, func(t *testing.T, r road) {
		views := make(chan *largeobj.View, 1)
		c := r.carry(t, func(s framework.Registrar, _ *largeobj.Store) {
			Weigh.Handle(s, func(ctx context.Context, q *Parcel) (*Digest, error) {
				v, err := q.Object.Open(ctx)
				if err != nil {
					return nil, err
				}
				v.Keep()
				views <- v
				return &Digest{}, nil
			})
		})
		data := noise(200_000)
		ref := must(c.near.FromBytes(t.Context(), data))(t, "FromBytes")
		if _, err := Weigh.Call(t.Context(), c.client, &Parcel{"x", ref}); err != nil {
			t.Fatal(err)
		}
		ref.Release()
		v := <-views
		if !bytes.Equal(v.Bytes(), data) {
			t.Error("the content has changed")
		}
		v.Release()
	})
}

// TestObjectsThatTheirOwnerNoLongerHas: is an error that says so, for what has to be fetched.
func TestObjectsThatTheirOwnerNoLongerHas(t *testing.T) {
	c := roads[2].carry(t, serveObjects)
	c.far.Close()
	p, err := Make.Call(t.Context(), c.client, &Number{100})
	if err == nil {
		p.Object.Release()
		t.Fatal("a closed store made an object")
	}
}

// TestLargeMessagesTakeSharedMemory: ordinary messages of some size between peers on one host do not go through the network.
func TestLargeMessagesTakeSharedMemory(t *testing.T) {
	echo := framework.NewUnary[Text, Text]("integration.v1/EchoText")
	c := roads[0].carry(t, func(s framework.Registrar, _ *largeobj.Store) {
		echo.Handle(s, func(_ context.Context, q *Text) (*Text, error) { return q, nil })
	})
	eventually(t, "the peer to map the memory", func() bool {
		must(echo.Call(t.Context(), c.client, &Text{strings.Repeat("x", 5000)}))(t, "echo")
		return c.near.Stats().SharedOut > 0 && c.far.Stats().SharedOut > 0
	})
	for _, size := range []int{100, 5000, 100_000, 3 << 20} {
		before := c.near.Stats()
		q := Text{Text: strings.Repeat("x", size)}
		r := must(echo.Call(t.Context(), c.client, &q))(t, "echo")
		if r.Text != q.Text {
			t.Errorf("%d bytes came back otherwise", size)
		}
		after := c.near.Stats()
		if shared := after.SharedOut-before.SharedOut == 1 && after.SharedIn-before.SharedIn == 1; shared != (size > 4096) {
			t.Errorf("%d bytes: shared %v: before %+v, after %+v", size, shared, before, after)
		}
	}
}

// TestObjectsFromFilesAndReaders: have other sources than memory.
func TestObjectsFromFilesAndReaders(t *testing.T) {
	everyRoad(t, func(t *testing.T, r road) {
		c := r.carry(t, serveObjects)
		data := noise(9 << 20)
		dir := t.TempDir()
		path := filepath.Join(dir, "data")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		d := must(c.near.OpenDir(dir))(t, "OpenDir")
		defer d.Close()
		if _, err := d.Ref(t.Context(), "../etc/passwd"); err == nil {
			t.Error("a name led out of the directory")
		}
		for name, open := range map[string]func() (largeobj.Ref, error){
			"file":   func() (largeobj.Ref, error) { return c.near.FromFile(t.Context(), path) },
			"dir":    func() (largeobj.Ref, error) { return d.Ref(t.Context(), "data") },
			"reader": func() (largeobj.Ref, error) { return c.near.FromReader(t.Context(), slowReader(data)) },
		} {
			ref := must(open())(t, name)
			got := must(Weigh.Call(t.Context(), c.client, &Parcel{name, ref}))(t, name)
			if got.Sum != digest(data) {
				t.Errorf("%s: another content arrived, of %d bytes", name, got.Size)
			}
			v := must(ref.Open(t.Context()))(t, name)
			var copied bytes.Buffer
			if n, err := v.WriteTo(&copied); err != nil || n != int64(len(data)) || !bytes.Equal(copied.Bytes(), data) {
				t.Errorf("%s: WriteTo wrote %d bytes, %v", name, n, err)
			}
			v.Release()
			ref.Release()
		}
	})
}

// slowReader yields data in pieces.
func slowReader(data []byte) *pieces { return &pieces{slices.Clone(data)} }

type pieces struct{ left []byte }

func (p *pieces) Read(b []byte) (int, error) {
	n := copy(b, p.left[:min(len(p.left), 70_000)])
	p.left = p.left[n:]
	if n == 0 {
		return 0, io.EOF
	}
	return n, nil
}

// TestDownload: to a file, with progress.
func TestDownload(t *testing.T) {
	everyRoad(t, func(t *testing.T, r road) {
		c := r.carry(t, serveObjects)
		p := must(Make.Call(t.Context(), c.client, &Number{9_000_000}))(t, "Make")
		defer p.Object.Release()
		path := filepath.Join(t.TempDir(), "got")
		var last largeobj.Progress
		if err := p.Object.Download(t.Context(), path, largeobj.WithProgress(func(p largeobj.Progress) { last = p })); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(path)
		if err != nil || !bytes.Equal(got, noise(9_000_000)) {
			t.Errorf("%d bytes, %v", len(got), err)
		}
		if !r.shared && (last.Done != 9_000_000 || last.Total != 9_000_000) {
			t.Errorf("progress ended at %+v", last)
		}
		left, err := os.ReadDir(filepath.Dir(path))
		if err != nil || len(left) != 1 {
			t.Errorf("left behind: %v, %v", left, err)
		}
	})
}

// TestPartsOfObjects: are read without the rest.
func TestPartsOfObjects(t *testing.T) {
	everyRoad(t, func(t *testing.T, r road) {
		c := r.carry(t, serveObjects)
		data := noise(9_000_000)
		p := must(Make.Call(t.Context(), c.client, &Number{len(data)}))(t, "Make")
		defer p.Object.Release()
		spooled := must(c.near.FromReader(t.Context(), slowReader(data)))(t, "FromReader")
		defer spooled.Release()
		for _, part := range []struct{ off, n int64 }{{0, 1}, {5_000_000, 3_000_000}, {8_999_999, -1}, {0, -1}, {9_000_000, 0}} {
			want := data[part.off:]
			if part.n >= 0 {
				want = want[:part.n]
			}
			for name, ref := range map[string]largeobj.Ref{"received": p.Object, "produced": spooled} {
				in := must(ref.Reader(t.Context(), part.off, part.n))(t, name)
				got, err := io.ReadAll(in)
				if err != nil || !bytes.Equal(got, want) {
					t.Errorf("%s, %d bytes at %d: %d bytes, %v", name, part.n, part.off, len(got), err)
				}
				if err := in.Close(); err != nil {
					t.Error(err)
				}
			}
		}
		if _, err := p.Object.Reader(t.Context(), 1, 9_000_000); err == nil {
			t.Error("a part that ends behind the object was opened")
		}
	})
}

// TestFetchedObjectsSpill: what exceeds the memory for one object goes to a file, and is seen as bytes all the same.
func TestFetchedObjectsSpill(t *testing.T) {
	r := roads[2]
	r.conf.InMemoryBytes, r.conf.SpillDir = 1<<20, t.TempDir()
	c := r.carry(t, serveObjects)
	p := must(Make.Call(t.Context(), c.client, &Number{9_000_000}))(t, "Make")
	v := must(p.Object.Open(t.Context()))(t, "Open")
	if !bytes.Equal(v.Bytes(), noise(9_000_000)) {
		t.Error("another content arrived")
	}
	if st := c.near.Stats(); st.MemoryBytes != 0 {
		t.Errorf("it is in memory: %+v", st)
	}
	v.Release()
	left, err := os.ReadDir(r.conf.SpillDir)
	if err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// A tripwire does something when a number of bytes have arrived at the sockets that it opened, before anything else arrives.
type tripwire struct {
	mu   sync.Mutex
	left int
	then func()
}

func (w *tripwire) listen(ctx context.Context) (net.PacketConn, error) {
	conn, err := new(net.ListenConfig).ListenPacket(ctx, "udp", "127.0.0.1:0")
	return wiredConn{conn, w}, err
}

func (w *tripwire) after(bytes int, then func()) (done <-chan struct{}) {
	end := make(chan struct{})
	w.mu.Lock()
	defer w.mu.Unlock()
	w.left, w.then = bytes, func() { then(); close(end) }
	return end
}

type wiredConn struct {
	net.PacketConn
	wire *tripwire
}

func (c wiredConn) ReadFrom(p []byte) (int, net.Addr, error) {
	n, addr, err := c.PacketConn.ReadFrom(p)
	c.wire.mu.Lock()
	defer c.wire.mu.Unlock()
	if c.wire.left -= n; c.wire.left <= 0 && c.wire.then != nil {
		c.wire.then()
		c.wire.then = nil
	}
	return n, addr, err
}

// TestDownloadsGoOn: when the connection is lost and the server comes back, without asking for what has arrived; and after a
// restart of the server, for the unchanged file.
func TestDownloadsGoOn(t *testing.T) {
	checkBaseline(t)
	conf := roads[2].conf
	conf.MaxStreams = 2 // each of which leaves a leaf of 4 MiB incomplete
	near, far := newStore(t, conf), newStore(t, conf)
	dir := t.TempDir()
	data := noise(32 << 20)
	if err := os.WriteFile(filepath.Join(dir, "data"), data, 0o600); err != nil {
		t.Fatal(err)
	}
	get := framework.NewUnary[Text, Parcel]("integration.v1/GetFile", framework.Idempotent())
	var running *framework.Server
	start := func(socket net.PacketConn, store *largeobj.Store) string {
		files := must(store.OpenDir(dir))(t, "OpenDir")
		t.Cleanup(func() { files.Close() })
		running = newServer(t, framework.ServerConfig{Objects: store}, func(s framework.Registrar) {
			get.Handle(s, func(ctx context.Context, q *Text) (*Parcel, error) {
				ref, err := files.Ref(ctx, q.Text)
				return &Parcel{q.Text, ref}, err
			})
		})
		(&pair{}).serve(t, running, socket)
		return socket.LocalAddr().String()
	}
	address := start(listenAgain(t), far)
	var arrived tripwire
	client := must(framework.NewClient(address, framework.ClientConfig{TLS: clientTLS, Objects: near, ListenPacket: arrived.listen}))(t, "client")
	defer client.Close()

	p := must(get.Call(t.Context(), client, &Text{"data"}))(t, "Get")
	path := filepath.Join(t.TempDir(), "got")
	restarted := arrived.after(20<<20, func() {
		if err := running.Close(); err != nil {
			t.Error(err)
		}
		start(listenUDP(t, address), far)
	})
	if err := p.Object.Download(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	<-restarted
	if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, data) {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
	again := far.Stats().BytesOut - int64(len(data))
	t.Logf("sent twice: %d bytes", again)
	if again > 2*(4<<20)+8<<20 { // a leaf for each stream, and what was in flight
		t.Errorf("%d bytes were sent twice", again)
	}
	p.Object.Release()

	// Now a download is given up, and the server starts again with nothing in memory.
	getAgain := func() {
		t.Helper()
		eventually(t, "the new server", func() bool { // the client may find out late that the old one is gone
			var err error
			p, err = get.Call(t.Context(), client, &Text{"data"})
			return err == nil
		})
	}
	getAgain()
	ctx, cancel := context.WithCancel(t.Context())
	arrived.after(20<<20, cancel)
	if err := p.Object.Download(ctx, path); !errors.Is(err, context.Canceled) {
		t.Fatal("the download was not given up:", err)
	}
	p.Object.Release()
	if err := running.Close(); err != nil {
		t.Fatal(err)
	}
	fresh := newStore(t, conf)
	start(listenUDP(t, address), fresh)
	getAgain()
	if err := p.Object.Download(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, data) {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
	if sent := fresh.Stats().BytesOut; sent > 24<<20 {
		t.Errorf("%d bytes were sent by the new server", sent)
	}
	p.Object.Release()
}
