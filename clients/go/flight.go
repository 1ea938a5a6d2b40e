package twintier

import (
	"context"
	"reflect"
	"sync"
)

// flights holds the loads that run, so that concurrent callers of a key share one.
type flights struct {
	mu      sync.Mutex
	running map[flightKey]*flight
}

// flightKey holds all in which calls must agree to share a load.
type flightKey struct {
	namespace, key string
	kind           reflect.Type
	session        *Session // nil if it has no tokens
	consistency    Level
	strict         bool
}

// flight is one load and those that wait for it.
type flight struct {
	context context.Context // ends when nobody waits any more
	cancel  context.CancelFunc
	waiters int           // guarded by flights.mu
	done    chan struct{} // closed when the fields below are set
	value   any
	err     error
}

// join returns the flight of a key, and whether it has to be started.
func (f *flights) join(ctx context.Context, key flightKey) (joined *flight, start bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	joined = f.running[key]
	if start = joined == nil; start {
		joined = &flight{done: make(chan struct{})}
		joined.context, joined.cancel = context.WithCancel(context.WithoutCancel(ctx))
		f.running[key] = joined
	}
	joined.waiters++
	return joined, start
}

// leave takes a caller out of a flight. The last one ends it.
func (f *flights) leave(key flightKey, left *flight) {
	f.mu.Lock()
	defer f.mu.Unlock()
	left.waiters--
	if left.waiters > 0 {
		return
	}
	f.remove(key, left)
	left.cancel()
}

// land publishes the result of a flight.
func (f *flights) land(key flightKey, landed *flight, value any, err error) {
	f.mu.Lock()
	f.remove(key, landed)
	f.mu.Unlock()
	landed.value, landed.err = value, err
	close(landed.done)
}

func (f *flights) remove(key flightKey, removed *flight) {
	if f.running[key] == removed {
		delete(f.running, key)
	}
}

// share runs a load, or waits for the one that runs already. The load goes on while one of its
// callers waits. After the result is published it may return a task to be done then.
func (c *Client) share(
	ctx context.Context, key flightKey, load func(ctx context.Context) (value any, err error, then func()),
) (any, error) {
	if err := callerEnded(ctx); err != nil {
		return nil, err
	}
	f, start := c.flights.join(ctx, key)
	if start {
		run := func() {
			defer f.cancel()
			landed := false
			defer func() {
				if !landed { // the loader ended the goroutine
					c.flights.land(key, f, nil, errLoaderExited)
				}
			}()
			value, err, then := load(f.context)
			landed = true
			c.flights.land(key, f, value, err)
			if then != nil {
				then()
			}
		}
		if !c.spawn(run) {
			run() // the client is closed: the caller does it alone
		}
	} else {
		c.counters.inc(ctx, Shared)
	}
	select {
	case <-f.done:
	case <-ctx.Done():
		c.flights.leave(key, f)
		return nil, callerEnded(ctx)
	}
	if p, ok := f.err.(*panicError); ok {
		panic(p.value)
	}
	return f.value, f.err
}
