package twintier

import (
	"context"
	"sync"
)

// laterQueue holds background writes. When it is full, the oldest is dropped.
type laterQueue struct {
	capacity int
	wake     chan struct{} // has a token if there may be work

	mu      sync.Mutex
	waiting []laterWrite
	busy    bool // a write is being made
	lost    bool // a write was not stored since drain began
	idle    chan struct{}
}

// laterWrite makes one write, and reports whether it was stored.
type laterWrite func(context.Context) bool

func newLaterQueue(capacity int) *laterQueue {
	return &laterQueue{capacity: capacity, wake: make(chan struct{}, 1)}
}

// put adds a write, and reports whether the oldest was dropped for it.
func (q *laterQueue) put(write laterWrite) (dropped bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if dropped = len(q.waiting) == q.capacity; dropped {
		q.waiting = q.waiting[1:]
	}
	q.waiting = append(q.waiting, write)
	q.signal()
	return dropped
}

func (q *laterQueue) signal() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// take returns the oldest write, or nil if there is none.
func (q *laterQueue) take() laterWrite {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.waiting) == 0 {
		q.busy = false
		if q.idle != nil {
			close(q.idle)
			q.idle = nil
		}
		return nil
	}
	write := q.waiting[0]
	q.waiting = q.waiting[1:]
	q.busy = true
	return write
}

// drain returns a channel that is closed when no write waits or is being made.
func (q *laterQueue) drain() <-chan struct{} {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.lost = false
	idle := make(chan struct{})
	if len(q.waiting) == 0 && !q.busy {
		close(idle)
	} else {
		q.idle = idle
	}
	return idle
}

// end empties the queue. It returns the number of dropped writes, and whether any write was lost
// since drain.
func (q *laterQueue) end() (dropped int, lost bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	dropped = len(q.waiting)
	q.waiting = nil
	return dropped, q.lost || q.busy || dropped > 0
}

func (q *laterQueue) ended(stored bool) {
	if !stored {
		q.mu.Lock()
		q.lost = true
		q.mu.Unlock()
	}
}

// SetLater stores a value in the background. The value is encoded at once. When too many writes
// wait, the oldest is dropped and counted. A session of the context gets the token of the write.
func (c *Client) SetLater(ctx context.Context, key string, value any, options ...CallOption) error {
	request, o, err := c.setRequest(key, value, options)
	if err != nil {
		return err
	}
	return c.enqueue(ctx, func(ctx context.Context) bool {
		stored, _ := c.write(ctx, request, o)
		return stored
	})
}

// InvalidateLater removes entries in the background, in the order of all background writes.
func (c *Client) InvalidateLater(ctx context.Context, selector Selector, options ...CallOption) error {
	o, err := c.prepareInvalidate(selector, options)
	if err != nil {
		return err
	}
	return c.enqueue(ctx, func(ctx context.Context) bool {
		done, _ := c.invalidate(ctx, selector, o)
		return done
	})
}

func (c *Client) enqueue(ctx context.Context, write laterWrite) error {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if c.closed {
		c.counters.inc(ctx, LaterDropped)
		return ErrClosed
	}
	detached := context.WithoutCancel(ctx)
	if c.later.put(func(end context.Context) bool {
		ctx, cancel := context.WithCancel(detached)
		defer cancel()
		defer context.AfterFunc(end, cancel)()
		return write(ctx)
	}) {
		c.counters.inc(ctx, LaterDropped)
	}
	return nil
}

// writeLater makes the background writes, one after the other, until the client ends.
func (c *Client) writeLater() {
	for {
		select {
		case <-c.later.wake:
		case <-c.lifetime.Done():
			return
		}
		for write := c.later.take(); write != nil; write = c.later.take() {
			c.later.ended(write(c.lifetime))
		}
	}
}

// drainLater waits until no background write is left, or ctx ends. It reports whether none was
// lost meanwhile.
func (c *Client) drainLater(ctx context.Context) bool {
	select {
	case <-c.later.drain():
	case <-ctx.Done():
	}
	dropped, lost := c.later.end()
	c.counters.add(context.WithoutCancel(ctx), LaterDropped, dropped)
	return !lost
}
