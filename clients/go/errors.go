package twintier

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Results that are not values. Test for them with errors.Is.
var (
	// ErrMiss says that there is no value, or none that could be read in time.
	ErrMiss = errors.New("twintier: miss")
	// ErrAbsent says that the thing is known not to exist. A loader returns it to store that.
	ErrAbsent = errors.New("twintier: known to be absent")
)

// Kinds of failures. Test for them with errors.Is. Without strict mode only ErrUsage is returned,
// and ErrClosed by Close.
var (
	// ErrUnavailable says that no replica answered, or that Redis was needed and was away.
	ErrUnavailable = errors.New("service unavailable")
	// ErrDeadline says that the service did not answer within the timeout.
	ErrDeadline = errors.New("service too late")
	// ErrRejected says that the service refused the request.
	ErrRejected = errors.New("request rejected")
	// ErrUnauthenticated says that the credential is missing or not accepted.
	ErrUnauthenticated = errors.New("not authenticated")
	// ErrDenied says that no grant allows the call.
	ErrDenied = errors.New("permission denied")
	// ErrUnreadable says that a value could not be decoded.
	ErrUnreadable = errors.New("unreadable value")
	// ErrUsage says that an argument breaks a rule of the library.
	ErrUsage = errors.New("wrong usage")
	// ErrClosed says that the client is closed.
	ErrClosed = errors.New("client closed")
	// ErrNotDrained says that Close ended before all background writes were stored.
	ErrNotDrained = errors.New("background writes were lost")
)

// errBreakerOpen is the cause of an ErrUnavailable of a call that was not made.
var errBreakerOpen = errors.New("the circuit breaker is open")

// errorDomain is the domain of the service's ErrorInfo.
const errorDomain = "twintier.dev"

// Error is a failed call of the service. It matches its Kind and its cause with errors.Is.
type Error struct {
	// Operation of the client, such as "get".
	Operation string
	// Kind is ErrUnavailable, ErrDeadline, ErrRejected, ErrUnauthenticated or ErrDenied.
	Kind error
	// Code of gRPC. codes.OK if no call was made.
	Code codes.Code
	// Reason of the service, such as "L2_UNAVAILABLE". Empty if the service did not answer.
	Reason string
	// RetryAfter is the delay that the service asks for. Zero if it names none.
	RetryAfter time.Duration
	// Cause is the error of gRPC.
	Cause error
}

// Error returns the operation, the kind and the cause.
func (e *Error) Error() string {
	return fmt.Sprintf("twintier: %s: %v: %v", e.Operation, e.Kind, e.Cause)
}

// Unwrap returns the kind and the cause.
func (e *Error) Unwrap() []error { return []error{e.Kind, e.Cause} }

// callError converts the error of a call.
func callError(operation string, err error) *Error {
	st := status.Convert(err)
	e := &Error{Operation: operation, Kind: kindOf(st.Code()), Code: st.Code(), Cause: err}
	for _, detail := range st.Details() {
		switch d := detail.(type) {
		case *errdetails.ErrorInfo:
			if d.GetDomain() == errorDomain {
				e.Reason = d.GetReason()
			}
		case *errdetails.RetryInfo:
			e.RetryAfter = d.GetRetryDelay().AsDuration()
		}
	}
	return e
}

// kindOf returns the kind of error for a code.
func kindOf(code codes.Code) error {
	switch code {
	case codes.Unavailable, codes.Internal, codes.Unknown, codes.DataLoss, codes.Aborted, codes.Canceled:
		return ErrUnavailable
	case codes.DeadlineExceeded:
		return ErrDeadline
	case codes.Unauthenticated:
		return ErrUnauthenticated
	case codes.PermissionDenied:
		return ErrDenied
	default:
		return ErrRejected
	}
}

// away reports whether no replica answered in time. Only such errors open the breaker: a replica
// that reports a failure of Redis still answers from its memory.
func (e *Error) away() bool {
	if e.Kind == ErrDeadline {
		return true
	}
	return e.Kind == ErrUnavailable && e.Reason == ""
}

// usageError returns an ErrUsage that names the argument, its value and the rule.
func usageError(argument string, value any, rule string) error {
	return fmt.Errorf("twintier: %w: %s is %v: %s", ErrUsage, argument, value, rule)
}

// callerEnded returns the error of a caller's context that is over.
func callerEnded(ctx context.Context) error {
	if ctx.Err() == nil {
		return nil
	}
	return context.Cause(ctx)
}

// isServiceError reports whether err is a failed call, as opposed to wrong usage or a context that
// is over.
func isServiceError(err error) bool {
	var e *Error
	return errors.As(err, &e)
}
