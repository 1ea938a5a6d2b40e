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
	ctx context.Context, c *Client, op operation, timeout time.Duration, method rpc[Request, Response], request *Request,
) (*Response, error) {
	if err := c.admit(ctx, op); err != nil {
		return nil, err
	}
	limited, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	start := clock()
	response, err := method(limited, request)
	if err == nil {
		c.breaker.succeeded()
	} else {
		err = c.failed(ctx, op, err)
	}
	c.counters.callEnded(ctx, op.method, time.Duration(clock()-start), err)
	return response, err
}

// admit refuses calls of a caller that has left, of a closed client, and while the breaker is open.
func (c *Client) admit(ctx context.Context, op operation) error {
	if err := callerEnded(ctx); err != nil {
		return err
	}
	if c.lifetime.Err() != nil {
		return &Error{Operation: op.name, Kind: ErrUnavailable, Cause: ErrClosed}
	}
	if !c.breaker.admit(clock()) {
		c.counters.inc(ctx, BreakerSkipped)
		return &Error{Operation: op.name, Kind: ErrUnavailable, Cause: errBreakerOpen}
	}
	return nil
}

// failed counts a failed call, and converts its error. A caller that has left is no failure.
func (c *Client) failed(ctx context.Context, op operation, err error) error {
	if ended := callerEnded(ctx); ended != nil {
		return ended
	}
	e := callError(op.name, err)
	if e.Code == codes.DeadlineExceeded && c.conn.GetState() == connectivity.TransientFailure {
		e.Kind = ErrUnavailable // no replica can be reached: gRPC repeated the call until its end
	}
	c.counters.inc(ctx, Failures)
	switch {
	case !e.away():
		c.breaker.succeeded() // a replica answered
	case op == opWait: // waiting for a loader can be too late in a healthy service
	case c.breaker.failed(clock()):
		c.counters.inc(ctx, BreakerOpened)
	}
	return e
}

// operation is an operation of the client: its name in errors, and the method that it calls.
type operation struct{ name, method string }

var (
	opGet        = operation{"get", "Get"}
	opGetMany    = operation{"get_many", "BatchGet"}
	opSet        = operation{"set", "Set"}
	opSetMany    = operation{"set_many", "BatchSet"}
	opTouch      = operation{"touch", "Touch"}
	opInvalidate = operation{"invalidate", "Invalidate"}
	opLease      = operation{"get_or_set", "Get"}
	opWait       = operation{"wait_for_lease", "Get"} // of another caller
	opRelease    = operation{"get_or_set", "ReleaseLease"}
)
