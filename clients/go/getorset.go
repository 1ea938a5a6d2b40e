package twintier

import (
	"context"
	"reflect"
	"time"

	twintierv1 "github.com/twintier/twintier/clients/go/twintier/v1"
)

// GetOrSet returns a value, and loads and stores it if there is none. In the whole fleet one caller
// runs the loader; the others wait for its value.
//
// The loader returns ErrAbsent to store that the thing does not exist, for NegativeTTL. Its error
// is returned unchanged. Its context ends when no caller waits any more; values of the first
// caller's context are in it. If the service is away the loader runs, and nothing is stored.
//
// Callers that share a load get the same value, so they should not change what it points to.
func GetOrSet[T any](
	ctx context.Context, c *Client, key string, load func(context.Context) (T, error), options ...CallOption,
) (T, error) {
	var zero T
	o, err := c.prepareKey(key, options)
	if err != nil {
		return zero, err
	}
	session := c.sessionOf(ctx)
	var near T
	if _, err, answered := c.readNear(ctx, key, o, session, &near); answered {
		return near, err
	}
	l := &loading{client: c, key: key, options: o, session: session, target: func() any { return new(T) }}
	l.deadline, _ = ctx.Deadline()
	l.loader = func(ctx context.Context) (any, any, error) {
		value, err := load(ctx)
		return &value, value, err
	}
	result, err := c.share(ctx, l.flightKey(reflect.TypeFor[T]()), session, l.begin)
	if err != nil {
		return zero, err
	}
	return *result.(*T), nil
}

// loading is one GetOrSet. Values travel as pointers to the caller's type.
type loading struct {
	client   *Client
	key      string
	options  *callOptions
	session  *Session
	deadline time.Time // that of the first caller; zero if it has none
	target   func() any
	tokens   []string // of a strong answer
	// background is true while an entry that is due is loaded after the caller has its answer.
	background bool
	loader     func(context.Context) (pointer, value any, err error)
}

func (l *loading) flightKey(kind reflect.Type) flightKey {
	key := flightKey{
		namespace: l.options.namespace, key: l.key, kind: kind,
		consistency: l.options.consistency, strict: l.options.strict, inSession: l.session != nil,
	}
	if len(l.session.snapshot()) > 0 {
		key.session = l.session
	}
	return key
}

// begin asks the service once, without waiting for the lease of another caller. So it is short.
func (l *loading) begin(ctx context.Context) step {
	mark := l.client.near.mark(l.options, l.session)
	request := l.leaseRequest()
	if l.options.consistency == Strong {
		strong := &twintierv1.GetRequest{Namespace: l.options.namespace, Key: l.key, Consistency: request.Consistency}
		response, err := l.client.fetch(ctx, opGet, l.options.timeout, strong, l.session, mark)
		if err != nil || response.GetMiss() == nil {
			return l.settle(ctx, response, err)
		}
		// A strong Get takes no lease. The next one does, and is not older.
		request.Consistency = twintierv1.Consistency_CONSISTENCY_BOUNDED
		if l.session == nil { // a session has the token already
			l.tokens = []string{response.GetToken()}
			request.Tokens = l.tokens
		}
	}
	request.Lease.Wait = twintierv1.LeaseWait_LEASE_WAIT_NONE
	response, err := l.client.fetch(ctx, opLease, l.options.timeout, request, l.session, mark)
	if err == nil && response.GetMiss().GetReason() == twintierv1.MissReason_MISS_REASON_LEASED {
		return step{rest: func(ctx context.Context) step { return l.await(ctx, request) }}
	}
	if err == nil {
		l.client.near.keep(l.key, mark, response)
	}
	return l.settle(ctx, response, err)
}

// await asks again, and waits for the loader of the caller that has the lease.
func (l *loading) await(ctx context.Context, request *twintierv1.GetRequest) step {
	request.Lease.Wait = twintierv1.LeaseWait_LEASE_WAIT_UNTIL_DEADLINE
	request.StaleIfError = l.options.staleIfError
	request.Tokens = l.tokens
	response, err := l.client.fetch(ctx, opWait, l.wait(), request, l.session, nil)
	return l.settle(ctx, response, err)
}

// settle turns an answer into a value, or into a load.
func (l *loading) settle(ctx context.Context, response *twintierv1.GetResponse, err error) step {
	if err != nil {
		if err = l.client.failedRead(ctx, l.options, err); err != ErrMiss {
			return step{err: err}
		}
		return l.loadStep(noWrite)
	}
	value, write, err := l.resolve(ctx, response)
	if write != nil {
		return l.loadStep(write)
	}
	s := step{value: value, err: err}
	if lease := response.GetLease(); lease != nil {
		s.then = func() { l.refresh(context.WithoutCancel(ctx), lease) }
	}
	return s
}

func (l *loading) loadStep(write writer) step {
	return step{rest: func(ctx context.Context) step {
		value, err := l.load(ctx, write)
		return step{value: value, err: err}
	}}
}

func (l *loading) leaseRequest() *twintierv1.GetRequest {
	request := &twintierv1.GetRequest{
		Namespace: l.options.namespace, Key: l.key,
		Lease: &twintierv1.LeaseOptions{Duration: optionalDuration(l.options.leaseDuration)},
	}
	request.Consistency, request.MaxStaleness = l.options.readConsistency()
	return request
}

// wait returns how long to wait for another caller's loader: so that a caller with a deadline has
// half of its time left to load.
func (l *loading) wait() time.Duration {
	wait := l.options.leaseWait
	if wait == 0 {
		wait = l.options.leaseDuration
	}
	if wait == 0 {
		wait = DefaultLeaseWait
	}
	if l.deadline.IsZero() {
		return wait
	}
	return max(time.Millisecond, min(wait, time.Until(l.deadline)/2))
}

// writer sets how the Set of a loaded value is conditioned. It reports false if nothing is to be
// stored.
type writer func(*twintierv1.SetRequest) bool

func noWrite(*twintierv1.SetRequest) bool { return false }

// resolve decodes an answer. If the value has to be loaded, write is not nil.
func (l *loading) resolve(ctx context.Context, response *twintierv1.GetResponse) (value any, write writer, err error) {
	target := l.target()
	_, err = l.client.accept(ctx, response, target)
	if err == nil {
		return target, nil, nil
	}
	if err == ErrAbsent {
		return nil, nil, ErrAbsent
	}
	switch lease, miss := response.GetLease(), response.GetMiss(); {
	case lease != nil:
		return nil, withLease(lease.GetId()), nil
	case response.GetHit() != nil: // unreadable: overwrite this entry, but no newer one
		return nil, func(request *twintierv1.SetRequest) bool {
			request.Condition = &twintierv1.SetRequest_IfVersion{IfVersion: response.GetHit().GetEntry().GetVersion()}
			return true
		}, nil
	case miss.GetReason() == twintierv1.MissReason_MISS_REASON_ABSENT: // there are no leases in this namespace
		return nil, func(request *twintierv1.SetRequest) bool {
			request.Condition = &twintierv1.SetRequest_IfAbsent{IfAbsent: &twintierv1.IfAbsent{}}
			return true
		}, nil
	default:
		return nil, noWrite, nil
	}
}

func withLease(id string) writer {
	return func(request *twintierv1.SetRequest) bool {
		request.Condition = &twintierv1.SetRequest_Lease{Lease: id}
		return true
	}
}
