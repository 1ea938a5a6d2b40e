package twintier

import (
	"context"
	"errors"
	"fmt"
	"time"

	twintierv1 "github.com/twintier/twintier/clients/go/twintier/v1"
)

// panicError carries a loader's panic to its callers.
type panicError struct{ value any }

func (p *panicError) Error() string { return fmt.Sprintf("twintier: the loader panicked: %v", p.value) }

// errLoaderExited is the error of a loader that called runtime.Goexit.
var errLoaderExited = errors.New("twintier: the loader ended its goroutine")

// load runs the loader and stores its value.
func (l *loading) load(ctx context.Context, write writer) (any, error) {
	pointer, value, err := l.runLoader(ctx)
	switch {
	case err == nil:
		if err := l.store(ctx, value, write); err != nil {
			return nil, err
		}
		return pointer, nil
	case errors.Is(err, ErrAbsent):
		l.put(ctx, absentRequest(l.key, l.options), write)
		return nil, err
	default:
		return l.loadFailed(ctx, write, err)
	}
}

// runLoader runs the loader and counts it. A panic becomes an error.
func (l *loading) runLoader(ctx context.Context) (pointer, value any, err error) {
	c := l.client
	start := clock()
	err = errLoaderExited
	defer func() {
		if p := recover(); p != nil {
			err = &panicError{value: p}
		}
		c.counters.inc(ctx, Loads)
		failure := err
		if errors.Is(err, ErrAbsent) {
			failure = nil
		}
		if failure != nil {
			c.counters.inc(ctx, LoadFailures)
		}
		c.counters.loadEnded(ctx, l.background, time.Duration(clock()-start), failure)
	}()
	return l.loader(ctx)
}

// store encodes and stores a value. The error is about a value that cannot be encoded.
func (l *loading) store(ctx context.Context, value any, write writer) error {
	data, err := encode(l.client.config.serializer, value)
	if err != nil {
		l.giveBack(ctx, write, true)
		return err
	}
	l.put(ctx, valueRequest(l.key, data, l.client.config.serializer.ContentType(), l.options), write)
	return nil
}

// put makes a Set. Whether it is stored does not matter to the caller, who has the value.
func (l *loading) put(ctx context.Context, request *twintierv1.SetRequest, write writer) {
	if !write(request) {
		return
	}
	strict := *l.options
	strict.strict = true
	if _, err := l.client.write(ctx, request, &strict); err != nil && !errors.Is(err, ErrUnavailable) && !errors.Is(err, ErrDeadline) {
		l.giveBack(context.WithoutCancel(ctx), write, false) // the service refuses the value
	}
}

// loadFailed gives the lease back, and returns a stale value if the caller accepts one.
func (l *loading) loadFailed(ctx context.Context, write writer, failure error) (any, error) {
	abandoned := ctx.Err() != nil
	stale := l.giveBack(context.WithoutCancel(ctx), write, !abandoned)
	if stale == nil || !l.options.staleIfError {
		return nil, failure
	}
	target := l.target()
	if err := Decode(l.client.config.serializer, stale.GetContentType(), stale.GetValue(), target); err != nil {
		l.client.counters.inc(ctx, Unreadable)
		return nil, failure
	}
	l.client.counters.inc(ctx, Stale)
	return target, nil
}

// giveBack returns the lease, if there is one, and gets the stale value if it failed.
func (l *loading) giveBack(ctx context.Context, write writer, failed bool) *twintierv1.Hit {
	var probe twintierv1.SetRequest
	if !write(&probe) || probe.GetLease() == "" {
		return nil
	}
	request := &twintierv1.ReleaseLeaseRequest{
		Namespace: l.options.namespace, Key: l.key, Lease: probe.GetLease(), Failed: failed,
	}
	response, err := call(ctx, l.client, opRelease, l.options.timeout, l.client.service.ReleaseLease, request)
	if err != nil {
		return nil // the lease ends by itself
	}
	return response.GetStale()
}

// refresh loads an entry that is due in the background, if there is room among such loads.
func (l *loading) refresh(ctx context.Context, lease *twintierv1.Lease) {
	c := l.client
	select {
	case c.refresh <- struct{}{}:
		if c.spawn(func() {
			defer func() { <-c.refresh }()
			l.refreshNow(ctx, lease)
		}) {
			return
		}
		<-c.refresh
	default:
	}
	l.giveBack(ctx, withLease(lease.GetId()), false)
}

func (l *loading) refreshNow(ctx context.Context, lease *twintierv1.Lease) {
	ctx, stop := l.client.whileOpen(ctx)
	defer stop()
	limited, cancel := context.WithTimeout(ctx, lease.GetDuration().AsDuration())
	defer cancel()
	l.client.counters.inc(ctx, Refreshes)
	l.background = true
	_, _ = l.load(limited, withLease(lease.GetId())) // counted, and reported to hooks
}

// whileOpen returns a context that also ends with the client.
func (c *Client) whileOpen(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(c.lifetime, cancel)
	return ctx, func() { stop(); cancel() }
}
