package twintier

import (
	"context"
	"sync/atomic"
	"time"
)

// Metric names one of the counters.
type Metric int

// The counters.
const (
	// Hits are reads that returned a value, from memory or from the service.
	Hits Metric = iota
	// NearHits are those of the hits that the near cache answered.
	NearHits
	// NegativeHits are reads that returned ErrAbsent.
	NegativeHits
	// Misses are reads that found nothing, unreadable values included.
	Misses
	// Stale are values returned past their end.
	Stale
	// Loads are runs of loaders that ended.
	Loads
	// LoadFailures are those of the loads that failed.
	LoadFailures
	// Refreshes are loads in the background, of entries that were due for refresh.
	Refreshes
	// Shared are callers that shared the call of another one in this process.
	Shared
	// Failures are calls of the service that failed.
	Failures
	// BreakerOpened are the times the breaker opened.
	BreakerOpened
	// BreakerSkipped are calls that the open breaker kept from being made.
	BreakerSkipped
	// NotStored are writes that were not stored for whatever reason.
	NotStored
	// Unreadable are values that could not be decoded.
	Unreadable
	// LaterDropped are background writes that were dropped.
	LaterDropped

	metricCount
)

var metricNames = [metricCount]string{
	"hits", "near_hits", "negative_hits", "misses", "stale", "loads", "load_failures", "refreshes", "shared",
	"failures", "breaker_opened", "breaker_skipped", "not_stored", "unreadable", "later_dropped",
}

// String returns the name, such as "near_hits".
func (m Metric) String() string { return metricNames[m] }

// Metrics lists all counters.
func Metrics() []Metric {
	all := make([]Metric, metricCount)
	for i := range all {
		all[i] = Metric(i)
	}
	return all
}

// Counters is a reading of all counters of a client, indexed by Metric.
type Counters [metricCount]uint64

// Hooks are functions that report what a client does. All are optional. They run in the goroutine
// of the call and should return quickly.
type Hooks struct {
	// Counted runs after a counter was increased by n.
	Counted func(ctx context.Context, metric Metric, n int)
	// CallEnded runs after a call of the service, with its error if it failed. The method is that of
	// the contract, such as "BatchGet".
	CallEnded func(ctx context.Context, method string, duration time.Duration, err error)
	// LoadEnded runs after a loader returned, with its error if it failed. background is true for
	// the refresh of an entry that is due.
	LoadEnded func(ctx context.Context, background bool, duration time.Duration, err error)
}

// counters holds the counts of a client and tells its hooks.
type counters struct {
	counts [metricCount]atomic.Uint64
	hooks  []Hooks
}

func (c *counters) add(ctx context.Context, metric Metric, n int) {
	if n == 0 {
		return
	}
	c.counts[metric].Add(uint64(n))
	for i := range c.hooks {
		if counted := c.hooks[i].Counted; counted != nil {
			counted(ctx, metric, n)
		}
	}
}

func (c *counters) inc(ctx context.Context, metric Metric) { c.add(ctx, metric, 1) }

func (c *counters) callEnded(ctx context.Context, method string, duration time.Duration, err error) {
	for i := range c.hooks {
		if ended := c.hooks[i].CallEnded; ended != nil {
			ended(ctx, method, duration, err)
		}
	}
}

func (c *counters) loadEnded(ctx context.Context, background bool, duration time.Duration, err error) {
	for i := range c.hooks {
		if ended := c.hooks[i].LoadEnded; ended != nil {
			ended(ctx, background, duration, err)
		}
	}
}

func (c *counters) read() Counters {
	var reading Counters
	for i := range c.counts {
		reading[i] = c.counts[i].Load()
	}
	return reading
}
