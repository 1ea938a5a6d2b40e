package twintier

import (
	"sync/atomic"
	"time"
)

const (
	// breakerThreshold is the number of failed calls in a row that opens the breaker.
	breakerThreshold = 3
	// probeInterval is the time between two probes of an open breaker.
	probeInterval = time.Second
)

// breaker keeps calls from being made while the service is away. It opens after breakerThreshold
// failures in a row. While it is open it admits one probe per probeInterval; the first success
// closes it.
type breaker struct {
	failures  atomic.Int64
	nextProbe atomic.Int64 // nanoseconds of the process clock; 0 while closed
}

// processStart is the zero of the process clock, which is monotonic.
var processStart = time.Now()

// clock returns the nanoseconds since the start of the process, at least 1.
func clock() int64 { return int64(time.Since(processStart)) + 1 }

// admit reports whether a call may be made at the time now.
func (b *breaker) admit(now int64) bool {
	next := b.nextProbe.Load()
	return next == 0 || now >= next && b.nextProbe.CompareAndSwap(next, now+int64(probeInterval))
}

// succeeded records an answer.
func (b *breaker) succeeded() {
	if b.failures.Load() != 0 {
		b.failures.Store(0)
		b.nextProbe.Store(0)
	}
}

// failed records a failure at the time now, and reports whether it opened the breaker.
func (b *breaker) failed(now int64) bool {
	if b.failures.Add(1) < breakerThreshold {
		return false
	}
	return b.nextProbe.CompareAndSwap(0, now+int64(probeInterval))
}
