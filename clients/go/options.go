package twintier

import (
	"math"
	"strconv"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/types/known/durationpb"

	twintierv1 "github.com/twintier/twintier/clients/go/twintier/v1"
)

// Level is a required consistency of reads.
type Level int

const (
	// NamespaceDefault is what the policy of the namespace says.
	NamespaceDefault Level = iota
	// Bounded reflects every write that was acknowledged more than the maximum staleness ago.
	Bounded
	// Strong reads the primary of Redis.
	Strong
	// Eventual accepts an entry that is up to a day out of date, if the namespace keeps such entries.
	Eventual
)

// eventualStaleness is the maximum staleness of Eventual.
const eventualStaleness = 24 * time.Hour

// CallOption is a setting of one call.
type CallOption func(*callOptions)

// callOptions holds the settings of a call.
type callOptions struct {
	namespace     string
	ttl           time.Duration
	softTTL       time.Duration
	negativeTTL   time.Duration
	tags          []string
	sourceVersion *uint64
	jitter        *float64
	staleIfError  bool
	maxStaleness  time.Duration
	consistency   Level
	strict        bool
	timeout       time.Duration
	leaseDuration time.Duration
	leaseWait     time.Duration
}

// Namespace overrides the client's namespace.
func Namespace(namespace string) CallOption {
	return func(o *callOptions) { o.namespace = namespace }
}

// TTL sets the time to live. Without it the policy of the namespace applies.
func TTL(ttl time.Duration) CallOption {
	return func(o *callOptions) { o.ttl = positive(ttl) }
}

// SoftTTL sets the time after which the entry is due for refresh, but as fresh as before.
func SoftTTL(ttl time.Duration) CallOption {
	return func(o *callOptions) { o.softTTL = positive(ttl) }
}

// NegativeTTL sets the time to live of "absent".
func NegativeTTL(ttl time.Duration) CallOption {
	return func(o *callOptions) { o.negativeTTL = positive(ttl) }
}

// Tags sets tags by which the entry can be invalidated. In Cached they are templates.
func Tags(tags ...string) CallOption {
	return func(o *callOptions) { o.tags = tags }
}

// SourceVersion sets the version of the value's source, such as a column of a row. A newer one is
// never replaced by an older one.
func SourceVersion(version uint64) CallOption {
	return func(o *callOptions) { o.sourceVersion = &version }
}

// Jitter sets the maximum random share by which the time to live is shortened: 0 to 0.5.
func Jitter(share float64) CallOption {
	return func(o *callOptions) { o.jitter = &share }
}

// StaleIfError says whether to accept a stale value if the loader fails. The namespace must keep stale entries.
func StaleIfError(accept bool) CallOption {
	return func(o *callOptions) { o.staleIfError = accept }
}

// MaxStaleness sets the maximum staleness of a read.
func MaxStaleness(limit time.Duration) CallOption {
	return func(o *callOptions) { o.maxStaleness = positive(limit) }
}

// Consistency sets the required consistency of a read.
func Consistency(level Level) CallOption {
	return func(o *callOptions) { o.consistency = level }
}

// Strict makes the call return the errors of the service (true) or fail open (false).
func Strict(strict bool) CallOption {
	return func(o *callOptions) { o.strict = strict }
}

// Timeout sets the longest time of the call, waiting for a lease excepted.
func Timeout(timeout time.Duration) CallOption {
	return func(o *callOptions) { o.timeout = positive(timeout) }
}

// LeaseDuration sets the time in which the loader surely ends: 10 ms to 5 minutes.
func LeaseDuration(duration time.Duration) CallOption {
	return func(o *callOptions) { o.leaseDuration = positive(duration) }
}

// LeaseWait sets the longest time to wait for the loader of another caller.
func LeaseWait(wait time.Duration) CallOption {
	return func(o *callOptions) { o.leaseWait = positive(wait) }
}

// givenZero stands for a zero duration that was given, apart from one that was not.
const givenZero = time.Duration(math.MinInt64)

// positive marks a zero duration, which check refuses.
func positive(d time.Duration) time.Duration {
	if d == 0 {
		return givenZero
	}
	return d
}

// with returns a copy with options applied.
func (o callOptions) with(options []CallOption) callOptions {
	for _, option := range options {
		option(&o)
	}
	return o
}

func (o *callOptions) check() error {
	durations := []struct {
		name  string
		value time.Duration
	}{
		{"ttl", o.ttl}, {"soft_ttl", o.softTTL}, {"negative_ttl", o.negativeTTL}, {"max_staleness", o.maxStaleness},
		{"timeout", o.timeout}, {"lease_duration", o.leaseDuration}, {"lease_wait", o.leaseWait},
	}
	for _, d := range durations {
		if d.value == givenZero {
			d.value = 0
		} else if d.value >= 0 {
			continue
		}
		return usageError(d.name, d.value, "it must be positive")
	}
	if o.jitter != nil && !(*o.jitter >= 0 && *o.jitter <= 0.5) {
		return usageError("jitter", *o.jitter, "it must be from 0 to 0.5")
	}
	if o.consistency == Strong && o.maxStaleness > 0 {
		return usageError("max_staleness", o.maxStaleness, "it is not allowed with Strong")
	}
	return nil
}

// readConsistency returns the consistency and the maximum staleness of a read, as the contract has
// them.
func (o *callOptions) readConsistency() (twintierv1.Consistency, *durationpb.Duration) {
	switch o.consistency {
	case Strong:
		return twintierv1.Consistency_CONSISTENCY_STRONG, nil
	case Bounded:
		return twintierv1.Consistency_CONSISTENCY_BOUNDED, optionalDuration(o.maxStaleness)
	case Eventual:
		if o.maxStaleness == 0 {
			return twintierv1.Consistency_CONSISTENCY_BOUNDED, durationpb.New(eventualStaleness)
		}
		return twintierv1.Consistency_CONSISTENCY_BOUNDED, durationpb.New(o.maxStaleness)
	default:
		return twintierv1.Consistency_CONSISTENCY_UNSPECIFIED, optionalDuration(o.maxStaleness)
	}
}

// optionalDuration returns nil for a duration that was not given.
func optionalDuration(d time.Duration) *durationpb.Duration {
	if d <= 0 {
		return nil
	}
	return durationpb.New(d)
}

// checkKey refuses keys that no service accepts.
func checkKey(key string) error {
	if key == "" {
		return usageError("key", `""`, "it must not be empty")
	}
	if !utf8.ValidString(key) {
		return usageError("key", strconv.QuoteToASCII(key), "it must be UTF-8")
	}
	return nil
}
