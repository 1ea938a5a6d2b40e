// Package gocache is a store for github.com/eko/gocache that keeps values in twintier.
//
//	client, err := twintier.Open("localhost:50051")
//	users := cache.New[User](gocache.NewStore[User](client))
//	user, err := users.Get(ctx, "user:42")
package gocache

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/eko/gocache/lib/v4/store"

	twintier "github.com/twintier/twintier/clients/go"
)

// Type is what Store.GetType returns.
const Type = "twintier"

// Store keeps values of one type. The type is that of the gocache: cache.New[T](NewStore[T](c)).
// It fails open as its client does: without the service every Get is a miss, and writes succeed
// without effect. Use twintier.WithStrict for errors.
type Store[T any] struct {
	client  *twintier.Client
	options *store.Options
}

var _ store.StoreInterface = (*Store[any])(nil)

// NewStore creates a store. Options are defaults of all Sets.
func NewStore[T any](client *twintier.Client, options ...store.Option) *Store[T] {
	return &Store[T]{client: client, options: store.ApplyOptions(options...)}
}

// Get returns a value. The error is a store.NotFound if there is none.
func (s *Store[T]) Get(ctx context.Context, key any) (any, error) {
	value, _, err := s.GetWithTTL(ctx, key)
	return value, err
}

// GetWithTTL returns a value and its remaining time to live, which is zero if it has no end.
func (s *Store[T]) GetWithTTL(ctx context.Context, key any) (any, time.Duration, error) {
	text, err := keyOf(key)
	if err != nil {
		return nil, 0, err
	}
	entry, err := twintier.GetEntry[T](ctx, s.client, text)
	if errors.Is(err, twintier.ErrMiss) || errors.Is(err, twintier.ErrAbsent) {
		return nil, 0, store.NotFoundWithCause(err)
	}
	if err != nil {
		return nil, 0, err
	}
	return entry.Value, entry.TTL, nil
}

// Set stores a value with the expiration and the tags of the options. Without expiration the policy
// of the namespace applies. The other options have no effect.
func (s *Store[T]) Set(ctx context.Context, key any, value any, options ...store.Option) error {
	text, err := keyOf(key)
	if err != nil {
		return err
	}
	typed, ok := value.(T)
	if !ok {
		return fmt.Errorf("gocache: %w: value of type %T, want %T", twintier.ErrUsage, value, *new(T))
	}
	o := store.ApplyOptionsWithDefault(s.options, options...)
	var call []twintier.CallOption
	if o.Expiration != 0 {
		call = append(call, twintier.TTL(o.Expiration))
	}
	if len(o.Tags) > 0 {
		call = append(call, twintier.Tags(o.Tags...))
	}
	_, err = s.client.Set(ctx, text, typed, call...)
	return err
}

// Delete removes a value.
func (s *Store[T]) Delete(ctx context.Context, key any) error {
	text, err := keyOf(key)
	if err != nil {
		return err
	}
	_, err = s.client.Invalidate(ctx, twintier.Keys(text))
	return err
}

// Invalidate removes the values that have at least one of the tags, in one call however many they
// are.
func (s *Store[T]) Invalidate(ctx context.Context, options ...store.InvalidateOption) error {
	tags := store.ApplyInvalidateOptions(options...).Tags
	if len(tags) == 0 {
		return nil
	}
	_, err := s.client.Invalidate(ctx, twintier.Tagged(tags...))
	return err
}

// Clear removes every value of the client's namespace.
func (s *Store[T]) Clear(ctx context.Context) error {
	_, err := s.client.Invalidate(ctx, twintier.All())
	return err
}

// GetType returns Type.
func (s *Store[T]) GetType() string { return Type }

// keyOf returns the key as text: gocache's caches make it one.
func keyOf(key any) (string, error) {
	switch k := key.(type) {
	case string:
		return k, nil
	case fmt.Stringer:
		return k.String(), nil
	}
	return "", fmt.Errorf("gocache: %w: key of type %T, want a string", twintier.ErrUsage, key)
}
