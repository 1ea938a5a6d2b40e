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
	inSession      bool
	session        *Session // nil if it has no tokens
	consistency    Level
	strict         bool
}

// flight is one load and those that wait for it.
type flight struct {
	context context.Context // ends when no caller waits
	cancel  context.CancelFunc
	waiters int           // guarded by flights.mu
	session *Session      // of the first caller
	done    chan struct{} // closed when the fields below are set
	value   any
	err     error
}

// join returns the flight of a key, and whether it has to be started.
func (f *flights) join(ctx context.Context, key flightKey, session *Session) (joined *flight, start bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	joined = f.running[key]
	if start = joined == nil; start {
		joined = &flight{session: session, done: make(chan struct{})}
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
func (f *flights) land(key flightKey, landed *flight, s step) {
	f.mu.Lock()
	f.remove(key, landed)
	f.mu.Unlock()
	landed.value, landed.err = s.value, s.err
	close(landed.done)
	landed.cancel()
	if s.then != nil {
		s.then()
	}
}

func (f *flights) remove(key flightKey, removed *flight) {
	if f.running[key] == removed {
		delete(f.running, key)
	}
}

// step is the result of a part of a load, or the rest of it.
type step struct {
	value any
	err   error
	// rest goes on with the load. It may take long. Nil if there is a result.
	rest func(context.Context) step
	// then has to be done after the result is published. It does not take long.
	then func()
}

// share runs a load, or waits for the one that runs already. A load goes on while one of its
// callers waits. Its short beginning runs in the goroutine of the first caller: a hit needs no
// other one.
func (c *Client) share(ctx context.Context, key flightKey, session *Session, begin func(context.Context) step) (any, error) {
	if err := callerEnded(ctx); err != nil {
		return nil, err
	}
	f, first := c.flights.join(ctx, key, session)
	if first {
		stop := context.AfterFunc(ctx, func() { c.flights.leave(key, f) })
		c.run(key, f, protect(f.context, begin))
		if !stop() {
			return nil, callerEnded(ctx)
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
	if session != f.session {
		session.replace(nil, f.session.snapshot()...) // this session must not go back from the answer either
	}
	if p, ok := f.err.(*panicError); ok {
		panic(p.value)
	}
	return f.value, f.err
}

// protect turns a panic of a serializer into an error, which the callers raise again.
func protect(ctx context.Context, next func(context.Context) step) (s step) {
	defer func() {
		if p := recover(); p != nil {
			s = step{err: &panicError{value: p}}
		}
	}()
	return next(ctx)
}

// run publishes a result, or goes on with the rest of a load in a goroutine of its own.
func (c *Client) run(key flightKey, f *flight, s step) {
	if s.rest == nil {
		c.flights.land(key, f, s)
		return
	}
	rest := func() {
		s := step{rest: s.rest, err: errLoaderExited}
		defer func() { c.flights.land(key, f, s) }() // also if the loader ends the goroutine
		for s.rest != nil {
			s = protect(f.context, s.rest)
		}
	}
	if !c.spawn(rest) {
		rest() // the client is closed: the caller does it alone
	}
}
