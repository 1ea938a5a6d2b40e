// Package twintier is a client of twintier, a two-tier cache as a service.
//
// Create one Client per process with Open. GetOrSet returns a cached value or loads it, once in the
// whole fleet; Cached wraps a function so that its results are cached:
//
//	cache, err := twintier.Open("localhost:50051")
//	users, err := twintier.Cached(cache, "user:{id}", loadUser, twintier.TTL(5*time.Minute))
//	user, err := users.Get(ctx, 42)
//
// # Failures
//
// The cache is never the reason that a caller fails. When the service is away, slow or refuses, Get
// returns ErrMiss, GetOrSet runs the loader, and writes report that nothing was stored. WithStrict
// and Strict turn errors on. Every call has a deadline, and a circuit breaker makes an outage cost
// one call per second. Wrong arguments are always errors: ErrUsage.
//
// # Sessions
//
// A Session reads its own writes through any replica. It travels in a context; Middleware gives one
// to each HTTP request.
package twintier
