package gocache_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/eko/gocache/lib/v4/cache"
	"github.com/eko/gocache/lib/v4/store"
	"go.uber.org/goleak"

	twintier "github.com/twintier/twintier/clients/go"
	"github.com/twintier/twintier/clients/go/gocache"
	"github.com/twintier/twintier/clients/go/internal/testservice"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type user struct{ Name string }

func serve(t *testing.T, options ...twintier.Option) *twintier.Client {
	t.Helper()
	options = append(options, twintier.WithTimeout(30*time.Second))
	c, err := twintier.Open(testservice.Start(t).Address, options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close(context.Background()) })
	return c
}

func missing(t *testing.T, users *cache.Cache[user], key string) {
	t.Helper()
	if _, err := users.Get(t.Context(), key); !errors.Is(err, store.NotFound{}) {
		t.Errorf("%s: got %v, want NotFound", key, err)
	}
}

func TestACacheOfValues(t *testing.T) {
	users := cache.New[user](gocache.NewStore[user](serve(t), store.WithExpiration(time.Hour)))
	ctx := t.Context()
	missing(t, users, "user:1")
	for _, key := range []string{"user:1", "user:2", "user:3"} {
		if err := users.Set(ctx, key, user{Name: key}, store.WithTags([]string{"tag-of-" + key})); err != nil {
			t.Fatal(err)
		}
	}
	got, ttl, err := users.GetWithTTL(ctx, "user:1")
	if err != nil || got.Name != "user:1" || ttl <= time.Minute || ttl > time.Hour {
		t.Errorf("got %v, %s, %v", got, ttl, err)
	}
	if err := users.Delete(ctx, "user:1"); err != nil {
		t.Fatal(err)
	}
	missing(t, users, "user:1")
	if err := users.Invalidate(ctx, store.WithInvalidateTags([]string{"tag-of-user:2"})); err != nil {
		t.Fatal(err)
	}
	missing(t, users, "user:2")
	if _, err := users.Get(ctx, "user:3"); err != nil {
		t.Errorf("another tag: %v", err)
	}
	if err := users.Clear(ctx); err != nil {
		t.Fatal(err)
	}
	missing(t, users, "user:3")
}

func TestALoadableCache(t *testing.T) {
	c := serve(t)
	loads := 0
	users := cache.NewLoadable(func(context.Context, any) (user, []store.Option, error) {
		loads++
		return user{Name: "Ada"}, []store.Option{store.WithExpiration(time.Hour)}, nil
	}, cache.New[user](gocache.NewStore[user](c)))
	defer func() { _ = users.Close() }()
	for c.Counters()[twintier.Hits] == 0 { // gocache stores in the background
		if got, err := users.Get(t.Context(), "user:1"); err != nil || got.Name != "Ada" {
			t.Fatalf("got %v, %v", got, err)
		}
	}
	if loads == 0 {
		t.Error("no load")
	}
}

func TestWrongTypesAreErrors(t *testing.T) {
	s := gocache.NewStore[user](serve(t))
	if err := s.Set(t.Context(), "k", 1); !errors.Is(err, twintier.ErrUsage) {
		t.Errorf("a value: %v", err)
	}
	if err := s.Delete(t.Context(), 1); !errors.Is(err, twintier.ErrUsage) {
		t.Errorf("a key: %v", err)
	}
}

func TestWithoutTheServiceEveryGetIsAMiss(t *testing.T) {
	c, err := twintier.Open("localhost:1", twintier.WithTimeout(50*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close(context.Background()) }()
	users := cache.New[user](gocache.NewStore[user](c))
	if err := users.Set(t.Context(), "k", user{}); err != nil {
		t.Errorf("Set: %v", err)
	}
	missing(t, users, "k")
}
