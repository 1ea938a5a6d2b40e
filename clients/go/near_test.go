package twintier_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	twintier "github.com/twintier/twintier/clients/go"
	"github.com/twintier/twintier/clients/go/internal/testservice"
)

// near are settings under which a busy machine still proves freshness.
var near = twintier.WithNearCache(twintier.NearCache{MaxStaleness: patient})

// nearHit waits until the near cache answers.
func nearHit[T any](t *testing.T, c *twintier.Client, key string) T {
	t.Helper()
	var value T
	testservice.Eventually(t, "a near hit of "+key, func() bool {
		entry, err := twintier.GetEntry[T](t.Context(), c, key)
		value = entry.Value
		return err == nil && entry.Near
	})
	return value
}

func TestANearHitNeedsNoService(t *testing.T) {
	replica, c := serve(t, near)
	ok, err := c.Set(t.Context(), "k", "v", twintier.TTL(time.Hour))
	stored(t, ok, err)
	equal(t, "value", nearHit[string](t, c, "k"), "v")
	replica.Freeze()
	got, err := twintier.Get[string](t.Context(), c, "k")
	succeeds(t, err)
	equal(t, "value", got, "v")
	loaded, err := twintier.GetOrSet(t.Context(), c, "k", func(context.Context) (string, error) { return "loaded", nil })
	succeeds(t, err)
	equal(t, "value", loaded, "v")
	many, err := twintier.GetMany[string](t.Context(), c, []string{"k"})
	succeeds(t, err)
	equal(t, "value", many["k"], "v")
	replica.Thaw()
}

func TestAChangeByAnotherClientReachesTheNearCache(t *testing.T) {
	fleet := testservice.StartFleet(t, 2)
	c, other := open(t, fleet[0].Address, near), open(t, fleet[1].Address)
	selectors := map[string]twintier.Selector{
		"key": twintier.Keys("user:42:name"), "prefix": twintier.Prefix("user:42"),
		"tag": twintier.Tagged("blue"), "all": twintier.All(),
	}
	for name, selector := range selectors {
		ok, err := other.Set(t.Context(), "user:42:name", name, twintier.TTL(time.Hour), twintier.Tags("blue"))
		stored(t, ok, err)
		testservice.Eventually(t, "a near hit of the new value", func() bool {
			entry, err := twintier.GetEntry[string](t.Context(), c, "user:42:name")
			return err == nil && entry.Near && entry.Value == name
		})
		done, err := other.Invalidate(t.Context(), selector)
		stored(t, done, err)
		testservice.Eventually(t, "a miss after the invalidation by "+name, func() bool {
			_, err := twintier.Get[string](t.Context(), c, "user:42:name")
			return errors.Is(err, twintier.ErrMiss)
		})
	}
}

func TestCallersCannotChangeEachOthersNearValues(t *testing.T) {
	_, c := serve(t, near)
	ok, err := c.Set(t.Context(), "k", user{Name: "Ada", Roles: []string{"admin"}}, twintier.TTL(time.Hour))
	stored(t, ok, err)
	nearHit[user](t, c, "k").Roles[0] = "changed"
	equal(t, "role", nearHit[user](t, c, "k").Roles[0], "admin")
}

func TestNearHitsOfSeveralTypes(t *testing.T) {
	_, c := serve(t, near)
	ok, err := c.Set(t.Context(), "k", 7, twintier.TTL(time.Hour))
	stored(t, ok, err)
	equal(t, "int", nearHit[int](t, c, "k"), 7)
	equal(t, "any", nearHit[any](t, c, "k"), any(7.0))
	equal(t, "int64", nearHit[int64](t, c, "k"), 7)
	if _, err := twintier.Get[string](t.Context(), c, "k"); !errors.Is(err, twintier.ErrUnreadable) {
		t.Errorf("a string: %v", err)
	}
}

func TestTheNearCacheForgetsNegativeEntriesThatAreOverwritten(t *testing.T) {
	_, c := serve(t, near)
	ok, err := c.SetAbsent(t.Context(), "k")
	stored(t, ok, err)
	_, err = twintier.Get[int](t.Context(), c, "k")
	equal(t, "absent", errors.Is(err, twintier.ErrAbsent), true)
	ok, err = c.Set(t.Context(), "k", 7)
	stored(t, ok, err)
	got, err := twintier.Get[int](t.Context(), c, "k")
	succeeds(t, err)
	equal(t, "value", got, 7)
}

// Each writer owns a key and knows what it wrote: no read by the same client may be older.
func TestOwnWritesAreReadWhileOthersUseTheNearCache(t *testing.T) {
	_, c := serve(t, near)
	var group sync.WaitGroup
	for writer := range 8 {
		group.Add(1)
		go func() {
			defer group.Done()
			key := fmt.Sprintf("k%d", writer)
			for i := range 50 {
				if ok, err := c.Set(t.Context(), key, i); !ok || err != nil {
					t.Errorf("not stored: %v", err)
				}
				for range 3 {
					if got, err := twintier.Get[int](t.Context(), c, key); err != nil || got != i {
						t.Errorf("%s: got %d, %v, want %d", key, got, err, i)
					}
				}
				if i%10 == 0 {
					_, _ = c.Invalidate(t.Context(), twintier.Prefix("other"))
				}
			}
		}()
	}
	group.Wait()
}
