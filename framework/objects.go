package framework

import (
	"context"
	"errors"
	"time"

	"github.com/mycel-rpc/mycel/largeobj"
	"github.com/mycel-rpc/mycel/pool"
	"github.com/mycel-rpc/mycel/streams"
)

// released is the answer to a release.
type released struct{}

// Methods that every server and client serves, for package largeobj.
var (
	fetchObject    = NewServerStream[largeobj.FetchRequest, largeobj.Chunk]("mycel.v1/FetchObject", WithClass(ClassBulk), Idempotent())
	releaseObjects = NewUnary[largeobj.ReleaseRequest, released]("mycel.v1/ReleaseObjects", WithClass(ClassControl), Inline())
)

func (d *dispatcher) registerObjects() {
	fetchObject.Handle(d, func(ctx context.Context, q *largeobj.FetchRequest, out Sender[largeobj.Chunk]) error {
		if c := PeerFrom(ctx).client; c != nil { // the server fetches, and cannot open connections for it
			defer c.countFetch(ctx, false)()
		}
		return objectError(ctx, d.objects.Serve(ctx, q, out.Send))
	})
	releaseObjects.Handle(d, func(ctx context.Context, q *largeobj.ReleaseRequest) (*released, error) {
		PeerFrom(ctx).objects.Released(q)
		return &released{}, nil
	})
}

// objectError is the status of a fetch that failed. Its text names the object at most by what the peer knows.
func objectError(ctx context.Context, err error) error {
	var status *Error
	switch {
	case err == nil || errors.As(err, &status) || ctx.Err() != nil:
		return err
	case errors.Is(err, largeobj.ErrUnknown):
		return Errorf(NotFound, "%w", err)
	}
	return Errorf(DataLoss, "%w", err)
}

// An objectPeer makes the calls that package largeobj needs.
type objectPeer struct {
	fetch, release objectCaller
}

// An objectCaller is a Caller that chooses the connection by what an object needs.
type objectCaller struct {
	p    *Peer
	open ClientFunc
}

func (c objectCaller) Open(ctx context.Context, info *CallInfo) (Stream, error) {
	return c.open(ctx, info)
}

func newObjectPeer(p *Peer, wrap []ClientInterceptor) largeobj.Peer {
	over := func(via connector) objectCaller {
		return objectCaller{p, chain(func(ctx context.Context, info *CallInfo) (Stream, error) { return openCall(ctx, info, via) }, wrap)}
	}
	return &objectPeer{fetch: over(fetchConns{p}), release: over(ownConn{p})}
}

// ownConn makes calls on the connection on which the peer was met: what was granted there is released there.
type ownConn struct{ *Peer }

func (c ownConn) conn(context.Context, *CallInfo, []*pool.Health) (*streams.Conn, error) {
	if err := c.own.Err(); err != nil {
		return nil, err
	}
	return c.own, nil
}

// fetchConns finds a bulk connection to where an object is.
type fetchConns struct{ *Peer }

func (c fetchConns) conn(ctx context.Context, info *CallInfo, avoid []*pool.Health) (*streams.Conn, error) {
	if c.client != nil {
		return c.client.bulkTo(ctx, c.own)
	}
	return c.Peer.conn(ctx, info, avoid)
}

// Fetch implements [largeobj.Peer].
func (o *objectPeer) Fetch(ctx context.Context, q *largeobj.FetchRequest) (largeobj.Chunks, error) {
	p, ctx, cancel := prepare(ctx, fetchObject.sp, nil)
	done := o.fetching(ctx)
	s, err := o.openFetch(ctx, p)
	if err == nil {
		if err = sendOnly(s, q); err == nil {
			return &objectChunks{s, cancel, done}, nil
		}
		s.Close(nil)
	}
	done()
	cancel()
	return nil, fetchError(err)
}

// Release implements [largeobj.Peer].
func (o *objectPeer) Release(ctx context.Context, q *largeobj.ReleaseRequest) error {
	_, err := releaseObjects.Call(ctx, o.release, q)
	return err
}

// objectChunks is a running fetch.
type objectChunks struct {
	s      Stream
	cancel context.CancelFunc
	done   func()
}

func (c *objectChunks) Next(chunk *largeobj.Chunk) error { return fetchError(c.s.Recv(chunk)) }

func (c *objectChunks) Close() {
	c.s.Close(nil)
	c.cancel()
	c.done()
}

const (
	// fetchesPerConn is how many fetches share a connection before another one is opened, where the processors are the limit.
	fetchesPerConn = 2
	// longFetchRTT is the round trip from which on each has a connection of its own, as congestion control may be the limit. It
	// waits for that then: others will not move to a connection that comes later.
	longFetchRTT = 2 * time.Millisecond
)

// fetching counts a fetch until the result is called. The more run beside each other, the more connections there are, as
// far as those are allowed: package largeobj adds some to others only as long as that raises the goodput.
func (o *objectPeer) fetching(ctx context.Context) (done func()) {
	c := o.fetch.p.client
	if c == nil { // on a server, which cannot open connections
		return func() {}
	}
	return c.countFetch(ctx, true)
}

// countFetch opens connections for one more fetch, in either direction, and waits for them if it may.
func (c *Client) countFetch(ctx context.Context, wait bool) (done func()) {
	n := int(c.fetches.Add(1))
	for {
		conns := c.conns.Conns(pool.Bulk)
		long := len(conns) > 0 && conns[0].Stats().MinRTT >= longFetchRTT
		if long && wait && n > len(conns) && c.conns.GrowWait(ctx, pool.Bulk) {
			continue
		}
		if n > fetchesPerConn*len(conns) || long && !wait && n > len(conns) {
			c.conns.Grow(pool.Bulk)
		}
		return func() { c.fetches.Add(-1) }
	}
}

// openFetch opens one fetch after the other, so that each sees where those before it went.
func (o *objectPeer) openFetch(ctx context.Context, p prepared) (Stream, error) {
	if c := o.fetch.p.client; c != nil {
		select {
		case c.fetchTurn <- struct{}{}:
			defer func() { <-c.fetchTurn }()
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	return open(ctx, o.fetch, p)
}

// fetchError says what the status of a fetch means to package largeobj.
func fetchError(err error) error {
	switch CodeOf(err) {
	case NotFound:
		return errors.Join(largeobj.ErrUnknown, err)
	case Unavailable:
		return errors.Join(largeobj.ErrLost, err)
	}
	return err
}

// bulkTo returns a connection for bulk calls to the peer at the other end of conn: another server of the same target does not
// have its objects, unless that peer is gone.
func (c *Client) bulkTo(ctx context.Context, conn *streams.Conn) (*streams.Conn, error) {
	if conn.Err() != nil {
		l, err := c.conns.Get(ctx, pool.Bulk, pool.Pick{})
		return l.Conn, err
	}
	l, err := c.conns.Get(ctx, pool.Bulk, pool.Pick{Only: healthOf(conn)})
	if err != nil && conn.Err() == nil {
		return conn, nil
	}
	return l.Conn, err
}
