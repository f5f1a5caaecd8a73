package streams

import (
	"context"

	"github.com/mycel-rpc/mycel/wire"
)

// crowded reports whether so many calls are in progress that more frames are likely to follow at once.
func (c *Conn) crowded() bool { return c.outstanding.Load()+c.serving.Load() > 2 }

// lane returns the lane that a new call of the class takes, opening it when it is needed for the first time.
func (c *Conn) lane(ctx context.Context, class wire.Class, call uint64) (*lane, error) {
	if class == wire.ClassControl {
		select {
		case <-c.signal.control:
			return &c.control, nil
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-c.ctx.Done():
			return nil, c.Err()
		}
	}
	stripe := call % uint64(c.adapt.stripes.Load())
	if l := c.lanes[class][stripe].Load(); l != nil {
		return l, nil
	}
	if l := c.lanes[class][0].Load(); l != nil && c.callStreams.Load() >= reserveAt {
		return l, nil // there may be no stream left for another lane
	}
	return c.openLane(ctx, class, stripe)
}

// reserveAt is the number of call streams from which the lanes of small calls are opened before more of them. A peer
// grants longStreams more than its MaxStreams, so that many are there then.
const reserveAt = 8

// reserveLanes opens one lane of each class that small calls take, before call streams use up what the peer grants:
// a lane that has to wait for the end of one of those would hold up every call of its class.
func (c *Conn) reserveLanes(ctx context.Context) error {
	classes := []wire.Class{wire.ClassRPC, wire.ClassStream}
	if c.Role() == wire.RoleBulk {
		classes = []wire.Class{wire.ClassBulk}
	}
	for _, class := range classes {
		if c.lanes[class][0].Load() != nil {
			continue
		}
		l, err := c.openLane(ctx, class, 0)
		if err != nil {
			return err
		}
		l.w.announce() // a stream that says nothing is taken for stalled
	}
	return nil
}

func (c *Conn) openLane(ctx context.Context, class wire.Class, stripe uint64) (*lane, error) {
	slot := &c.lanes[class][stripe]
	s, err := c.t.openStream(ctx)
	if err != nil {
		return nil, err
	}
	l := new(lane)
	l.init(c, s, class)
	l.w.mu.queue = append(l.w.mu.queue, prefaceLane|byte(class))
	if !slot.CompareAndSwap(nil, l) {
		s.resetWrite(wire.ResetNone)
		s.stopRead(wire.ResetNone)
		return slot.Load(), nil
	}
	read := func() { l.read(newFrameReader(s, laneReadBytes, wire.MaxLaneFrameBytes, "")) }
	if !c.spawn(read) { // ends with the connection
		return nil, c.Err()
	}
	return l, nil
}

// wideLane returns the wide lane of the class, opening it when it is needed for the first time.
func (c *Conn) wideLane(ctx context.Context, class wire.Class) (*lane, error) {
	slot := &c.wide[class]
	if l := slot.Load(); l != nil {
		return l, nil
	}
	s, err := c.t.openUniStream(ctx)
	if err != nil {
		return nil, err
	}
	l := new(lane)
	l.init(c, s, class)
	l.w.mu.queue = append(l.w.mu.queue, prefaceWide|byte(class))
	if !slot.CompareAndSwap(nil, l) {
		s.resetWrite(wire.ResetNone)
		return slot.Load(), nil
	}
	return l, nil
}
