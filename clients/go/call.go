package twintier

import (
	"context"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
)

// rpc is a method of the generated stub.
type rpc[Request, Response any] func(context.Context, *Request, ...grpc.CallOption) (*Response, error)

// call makes one call of the service, unless the breaker is open. The error is an *Error, or that
// of the caller's context.
func call[Request, Response any](
	ctx context.Context, c *Client, operation string, timeout time.Duration, method rpc[Request, Response], request *Request,
) (*Response, error) {
	if err := c.admit(ctx, operation); err != nil {
		return nil, err
	}
	limited, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	start := clock()
	response, err := method(limited, request)
	if err == nil {
		c.breaker.succeeded()
	} else {
		err = c.failed(ctx, operation, err)
	}
	c.counters.callEnded(ctx, operation, time.Duration(clock()-start), err)
	return response, err
}

// admit refuses calls of a caller that has left, of a closed client, and while the breaker is open.
func (c *Client) admit(ctx context.Context, operation string) error {
	if err := callerEnded(ctx); err != nil {
		return err
	}
	if c.lifetime.Err() != nil {
		return &Error{Operation: operation, Kind: ErrUnavailable, Cause: ErrClosed}
	}
	if !c.breaker.admit(clock()) {
		c.counters.inc(ctx, BreakerSkipped)
		return &Error{Operation: operation, Kind: ErrUnavailable, Cause: errBreakerOpen}
	}
	return nil
}

// failed counts a failed call, and converts its error. A caller that has left is no failure.
func (c *Client) failed(ctx context.Context, operation string, err error) error {
	if ended := callerEnded(ctx); ended != nil {
		return ended
	}
	e := callError(operation, err)
	if e.Code == codes.DeadlineExceeded && c.conn.GetState() == connectivity.TransientFailure {
		e.Kind = ErrUnavailable // no replica can be reached: gRPC repeated the call until its end
	}
	c.counters.inc(ctx, Failures)
	switch {
	case !e.away():
		c.breaker.succeeded() // a replica answered
	case operation == opWait: // waiting for a loader can be too late in a healthy service
	case c.breaker.failed(clock()):
		c.counters.inc(ctx, BreakerOpened)
	}
	return e
}

// Operations as errors and hooks name them.
const (
	opGet        = "get"
	opGetMany    = "get_many"
	opSet        = "set"
	opSetMany    = "set_many"
	opTouch      = "touch"
	opInvalidate = "invalidate"
	opLease      = "lease"   // the Get of GetOrSet
	opWait       = "wait"    // a Get that waits for the lease of another caller
	opRelease    = "release" // the return of a lease
)
