package twintier

import (
	"context"
	"fmt"
	"slices"
	"time"

	twintierv1 "github.com/twintier/twintier/clients/go/twintier/v1"
)

// Entry is a value with facts about its entry.
type Entry[T any] struct {
	// Value is the value.
	Value T
	EntryInfo
}

// EntryInfo holds facts about an entry.
type EntryInfo struct {
	// Stale is true if the value is past its end, or cannot be proven to be fresh.
	Stale bool
	// Staleness is the longest time for which a stale value may have been out of date.
	Staleness time.Duration
	// Version of the entry. Equal only for the same write.
	Version string
	// Age is the time since the entry was written.
	Age time.Duration
	// TTL is the remaining time to live. Zero if the entry has no end.
	TTL time.Duration
	// SourceVersion is that of the Set. Nil if it had none.
	SourceVersion *uint64
	// Near is true if the near cache answered.
	Near bool
}

// Get returns a value. The error matches ErrMiss if there is none, and ErrAbsent if the thing is
// known not to exist. If the service is away or too late, Get returns ErrMiss, unless the call is
// strict.
func Get[T any](ctx context.Context, c *Client, key string, options ...CallOption) (T, error) {
	var value T
	if _, err := c.read(ctx, key, options, &value); err != nil {
		var zero T
		return zero, err
	}
	return value, nil
}

// GetEntry is Get, with facts about the entry.
func GetEntry[T any](ctx context.Context, c *Client, key string, options ...CallOption) (Entry[T], error) {
	var entry Entry[T]
	info, err := c.read(ctx, key, options, &entry.Value)
	if err != nil {
		return Entry[T]{}, err
	}
	entry.EntryInfo = info
	return entry, nil
}

// read reads an entry into target, a pointer.
func (c *Client) read(ctx context.Context, key string, options []CallOption, target any) (EntryInfo, error) {
	o, err := c.prepareKey(key, options)
	if err != nil {
		return EntryInfo{}, err
	}
	session := c.sessionOf(ctx)
	if info, result, answered := c.readNear(ctx, key, o, session, target); answered {
		return info, result
	}
	request := &twintierv1.GetRequest{Namespace: o.namespace, Key: key}
	request.Consistency, request.MaxStaleness = o.readConsistency()
	mark := c.near.mark(o, session)
	response, err := c.fetch(ctx, opGet, o.timeout, request, session, mark)
	if err != nil {
		return EntryInfo{}, c.failedRead(ctx, o, err)
	}
	c.near.keep(key, mark, response)
	return c.accept(ctx, response, target)
}

// fetch makes a Get with the tokens of the session and of the near cache.
func (c *Client) fetch(
	ctx context.Context, op operation, timeout time.Duration, request *twintierv1.GetRequest, session *Session, mark *nearMark,
) (*twintierv1.GetResponse, error) {
	tokens, err := session.begin(ctx)
	if err != nil {
		return nil, err
	}
	request.Tokens = mark.addTo(slices.Concat(request.Tokens, tokens))
	response, err := call(ctx, c, op, timeout, c.service.Get, request)
	session.end(tokens, response.GetToken())
	return response, err
}

// failedRead returns the error of a read: ErrMiss in place of the service's, unless the call is
// strict.
func (c *Client) failedRead(ctx context.Context, o *callOptions, err error) error {
	if !isServiceError(err) {
		return err
	}
	c.counters.inc(ctx, Misses)
	if o.strict {
		return err
	}
	return ErrMiss
}

// accept decodes an answer into target and counts it.
func (c *Client) accept(ctx context.Context, response *twintierv1.GetResponse, target any) (EntryInfo, error) {
	switch result := response.GetResult().(type) {
	case *twintierv1.GetResponse_Hit:
		return c.acceptHit(ctx, result.Hit, target)
	case *twintierv1.GetResponse_NegativeHit:
		c.counters.inc(ctx, NegativeHits)
		return EntryInfo{}, ErrAbsent
	default:
		c.counters.inc(ctx, Misses)
		return EntryInfo{}, ErrMiss
	}
}

// acceptHit decodes a hit into target and counts it. An unreadable value is a miss.
func (c *Client) acceptHit(ctx context.Context, hit *twintierv1.Hit, target any) (EntryInfo, error) {
	if err := Decode(c.config.serializer, hit.GetContentType(), hit.GetValue(), target); err != nil {
		c.counters.inc(ctx, Unreadable)
		c.counters.inc(ctx, Misses)
		return EntryInfo{}, fmt.Errorf("%w: %w", ErrMiss, err)
	}
	info := entryInfo(hit.GetEntry())
	c.counters.inc(ctx, Hits)
	if info.Stale {
		c.counters.inc(ctx, Stale)
	}
	return info, nil
}

func entryInfo(entry *twintierv1.EntryInfo) EntryInfo {
	return EntryInfo{
		Stale:         entry.GetStale() != nil,
		Staleness:     entry.GetStale().GetStaleness().AsDuration(),
		Version:       entry.GetVersion(),
		Age:           entry.GetAge().AsDuration(),
		TTL:           entry.GetTtl().AsDuration(),
		SourceVersion: entry.SourceVersion,
	}
}
