package twintier_test

import (
	"context"
	"errors"
	"testing"
	"time"

	twintier "github.com/twintier/twintier/clients/go"
)

type orderQuery struct {
	UserID int    `json:"user_id"`
	Status string `json:"status"`
}

func TestAFunctionIsCached(t *testing.T) {
	_, c := serve(t)
	calls := 0
	orders, err := twintier.Cached(c, "user:{user_id}:orders:{status}", func(_ context.Context, q orderQuery) ([]int, error) {
		calls++
		return []int{q.UserID, calls}, nil
	}, twintier.TTL(time.Minute), twintier.Tags("user:{user_id}"))
	succeeds(t, err)
	query := orderQuery{UserID: 42, Status: "a/b"}
	key, err := orders.Key(query)
	succeeds(t, err)
	equal(t, "key", key, "user:42:orders:a%2Fb")
	get := func(want int) {
		t.Helper()
		got, err := orders.Get(t.Context(), query)
		succeeds(t, err)
		equal(t, "calls", got[1], want)
	}
	get(1)
	get(1)
	done, err := orders.Invalidate(t.Context(), query)
	stored(t, done, err)
	get(2)
	done, err = c.Invalidate(t.Context(), twintier.Tagged("user:42"))
	stored(t, done, err)
	get(3)
	_, err = orders.Refresh(t.Context(), query)
	succeeds(t, err)
	get(4)
	_, err = orders.Uncached(t.Context(), query)
	succeeds(t, err)
	get(4)
}

func TestKeysOfArguments(t *testing.T) {
	c := open(t, "localhost:1")
	byID := twintier.MustCached(c, "user:{id}", func(context.Context, int) (string, error) { return "", nil })
	byMap := twintier.MustCached(c, "user:{id}", func(context.Context, map[string]any) (string, error) { return "", nil })
	hashed := twintier.MustCached(c, "orders", func(context.Context, orderQuery) (string, error) { return "", nil })
	other := twintier.MustCached(c, "orders", func(context.Context, map[string]any) (string, error) { return "", nil })
	key := func(got string, err error) string { succeeds(t, err); return got }
	equal(t, "by id", key(byID.Key(7)), "user:7")
	equal(t, "by map", key(byMap.Key(map[string]any{"id": "a:b"})), "user:a%3Ab")
	equal(t, "hashed", key(hashed.Key(orderQuery{UserID: 1, Status: "x"})),
		key(other.Key(map[string]any{"status": "x", "user_id": 1})))
	if _, err := byMap.Get(t.Context(), nil); !errors.Is(err, twintier.ErrUsage) {
		t.Errorf("a missing name: %v", err)
	}
}

func TestArgumentsWithoutKeysAreRefusedEarly(t *testing.T) {
	c := open(t, "localhost:1")
	_, unhashable := twintier.Cached(c, "f", func(context.Context, chan int) (int, error) { return 0, nil })
	_, noField := twintier.Cached(c, "f:{other}", func(context.Context, orderQuery) (int, error) { return 0, nil })
	_, slice := twintier.Cached(c, "f:{id}", func(context.Context, []int) (int, error) { return 0, nil })
	_, brace := twintier.Cached(c, "f:{", func(context.Context, int) (int, error) { return 0, nil })
	_, tag := twintier.Cached(c, "f", func(context.Context, int) (int, error) { return 0, nil }, twintier.Tags("{a}:{b}"))
	for i, err := range []error{unhashable, noField, slice, brace, tag} {
		if !errors.Is(err, twintier.ErrUsage) {
			t.Errorf("%d: %v", i, err)
		}
	}
	late := twintier.MustCached(c, "f", func(context.Context, any) (int, error) { return 0, nil })
	if _, err := late.Get(t.Context(), make(chan int)); !errors.Is(err, twintier.ErrUsage) {
		t.Errorf("at the first call: %v", err)
	}
}

func TestRefreshStoresAbsent(t *testing.T) {
	_, c := serve(t)
	f := twintier.MustCached(c, "f:{id}", func(context.Context, int) (int, error) { return 0, twintier.ErrAbsent })
	if _, err := f.Refresh(t.Context(), 1); !errors.Is(err, twintier.ErrAbsent) {
		t.Fatalf("got %v", err)
	}
	if _, err := twintier.Get[int](t.Context(), c, "f:1"); !errors.Is(err, twintier.ErrAbsent) {
		t.Errorf("stored: %v", err)
	}
}
