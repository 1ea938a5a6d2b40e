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
	result, err := c.share(ctx, l.flightKey(reflect.TypeFor[T]()), l.run)
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
	// background is true while an entry that is due is loaded after the caller has its answer.
	background bool
	loader     func(context.Context) (pointer, value any, err error)
}

func (l *loading) flightKey(kind reflect.Type) flightKey {
	key := flightKey{
		namespace: l.options.namespace, key: l.key, kind: kind,
		consistency: l.options.consistency, strict: l.options.strict,
	}
	if len(l.session.snapshot()) > 0 {
		key.session = l.session
	}
	return key
}

// run asks the service, and loads if it has to. Then it may have to refresh.
func (l *loading) run(ctx context.Context) (value any, err error, then func()) {
	ctx, stop := l.client.whileOpen(ctx)
	defer stop()
	mark := l.client.near.mark(l.options, l.session)
	response, err := l.ask(ctx, mark)
	if err != nil {
		if err = l.client.failedRead(ctx, l.options, err); err != ErrMiss {
			return nil, err, nil
		}
		value, err = l.load(ctx, noWrite)
		return value, err, nil
	}
	l.client.near.keep(l.key, mark, response)
	value, err, write := l.resolve(ctx, response)
	switch {
	case write != nil:
		value, err = l.load(ctx, write)
	case response.GetLease() != nil:
		then = func() { l.refresh(context.WithoutCancel(ctx), response.GetLease()) }
	}
	return value, err, then
}

// ask makes the Gets that it takes until there is an answer other than that another caller has the
// lease, or the wait is over. The first does not wait: so it has a short deadline.
func (l *loading) ask(ctx context.Context, mark *nearMark) (*twintierv1.GetResponse, error) {
	request := l.leaseRequest()
	if l.options.consistency == Strong {
		strong := &twintierv1.GetRequest{Namespace: l.options.namespace, Key: l.key, Consistency: request.Consistency}
		response, err := l.client.fetch(ctx, opGet, l.options.timeout, strong, l.session, mark)
		if err != nil || response.GetMiss() == nil {
			return response, err
		}
		// A strong Get takes no lease. The next one does, and is not older.
		request.Consistency = twintierv1.Consistency_CONSISTENCY_BOUNDED
		request.Tokens = []string{response.GetToken()}
	}
	request.Lease.Wait = twintierv1.LeaseWait_LEASE_WAIT_NONE
	response, err := l.client.fetch(ctx, opLease, l.options.timeout, request, l.session, mark)
	if err != nil || response.GetMiss().GetReason() != twintierv1.MissReason_MISS_REASON_LEASED {
		return response, err
	}
	request.Lease.Wait = twintierv1.LeaseWait_LEASE_WAIT_UNTIL_DEADLINE
	request.StaleIfError = l.options.staleIfError
	return l.client.fetch(ctx, opWait, l.wait(), request, l.session, mark)
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
func (l *loading) resolve(ctx context.Context, response *twintierv1.GetResponse) (value any, err error, write writer) {
	target := l.target()
	_, err = l.client.accept(ctx, response, target)
	if err == nil {
		return target, nil, nil
	}
	if err == ErrAbsent {
		return nil, ErrAbsent, nil
	}
	switch lease, miss := response.GetLease(), response.GetMiss(); {
	case lease != nil:
		return nil, nil, withLease(lease.GetId())
	case response.GetHit() != nil: // unreadable: overwrite this entry, but no newer one
		return nil, nil, func(request *twintierv1.SetRequest) bool {
			request.Condition = &twintierv1.SetRequest_IfVersion{IfVersion: response.GetHit().GetEntry().GetVersion()}
			return true
		}
	case miss.GetReason() == twintierv1.MissReason_MISS_REASON_ABSENT: // there are no leases in this namespace
		return nil, nil, func(request *twintierv1.SetRequest) bool {
			request.Condition = &twintierv1.SetRequest_IfAbsent{IfAbsent: &twintierv1.IfAbsent{}}
			return true
		}
	default:
		return nil, nil, noWrite
	}
}

func withLease(id string) writer {
	return func(request *twintierv1.SetRequest) bool {
		request.Condition = &twintierv1.SetRequest_Lease{Lease: id}
		return true
	}
}

// whileOpen returns a context that also ends with the client.
func (c *Client) whileOpen(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(c.lifetime, cancel)
	return ctx, func() { stop(); cancel() }
}
