package twintier_test

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"testing"
	"time"

	twintier "github.com/twintier/twintier/clients/go"
	"github.com/twintier/twintier/clients/go/internal/testservice"
)

type user struct {
	Name  string   `json:"name"`
	Roles []string `json:"roles"`
}

type contextKey struct{}

func TestAMissLoadsOnceAndStores(t *testing.T) {
	_, c := serve(t)
	loads := 0
	load := func(ctx context.Context) (user, error) {
		loads++
		equal(t, "value of the caller's context", ctx.Value(contextKey{}), any("here"))
		return user{Name: "Ada", Roles: []string{"admin"}}, nil
	}
	ctx := context.WithValue(t.Context(), contextKey{}, "here")
	for range 2 {
		got, err := twintier.GetOrSet(ctx, c, "user:1", load, twintier.TTL(time.Minute))
		succeeds(t, err)
		equal(t, "name", got.Name, "Ada")
	}
	equal(t, "loads", loads, 1)
	counters := c.Counters()
	equal(t, "hits", counters[twintier.Hits], 1)
	equal(t, "misses", counters[twintier.Misses], 1)
}

func TestTheLoadersErrorIsUnchanged(t *testing.T) {
	_, c := serve(t)
	failure := errors.New("the database is away")
	_, err := twintier.GetOrSet(t.Context(), c, "k", func(context.Context) (int, error) { return 0, failure })
	if err != failure {
		t.Fatalf("got %v", err)
	}
}

func TestALoaderThatPanicsPanicsInItsCallerAndReleasesTheLease(t *testing.T) {
	_, c := serve(t)
	func() {
		defer func() { equal(t, "panic", recover(), any("boom")) }()
		_, _ = twintier.GetOrSet(t.Context(), c, "k", func(context.Context) (int, error) { panic("boom") })
		t.Error("no panic")
	}()
	got, err := twintier.GetOrSet(t.Context(), c, "k", func(context.Context) (int, error) { return 7, nil })
	succeeds(t, err)
	equal(t, "value", got, 7)
}

func TestALoaderThatEndsItsGoroutineIsAnError(t *testing.T) {
	_, c := serve(t)
	_, err := twintier.GetOrSet(t.Context(), c, "k", func(context.Context) (int, error) { runtime.Goexit(); return 0, nil })
	if err == nil {
		t.Fatal("no error")
	}
}

func TestALoadEndsWhenAllCallersHaveLeft(t *testing.T) {
	_, c := serve(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	ended := make(chan struct{})
	left := errors.New("left")
	_, err := twintier.GetOrSet(ctx, c, "k", func(ctx context.Context) (int, error) {
		cancel(left)
		<-ctx.Done()
		close(ended)
		return 0, ctx.Err()
	})
	if !errors.Is(err, left) {
		t.Fatalf("got %v", err)
	}
	<-ended
	// The lease was given back: no caller waits for its end, which is 10 s away.
	got, err := twintier.GetOrSet(t.Context(), c, "k", func(context.Context) (int, error) { return 7, nil },
		twintier.LeaseWait(patient))
	succeeds(t, err)
	equal(t, "value", got, 7)
}

func TestConcurrentCallersShareALoad(t *testing.T) {
	_, c := serve(t)
	gate := make(chan struct{})
	var group sync.WaitGroup
	for range 20 {
		group.Add(1)
		go func() {
			defer group.Done()
			got, err := twintier.GetOrSet(t.Context(), c, "k", func(context.Context) (int, error) { <-gate; return 7, nil })
			if err != nil || got != 7 {
				t.Errorf("got %d, %v", got, err)
			}
		}()
	}
	testservice.Eventually(t, "19 callers share", func() bool { return c.Counters()[twintier.Shared] == 19 })
	close(gate)
	group.Wait()
	equal(t, "loads", c.Counters()[twintier.Loads], 1)
}

func TestAbsentIsStored(t *testing.T) {
	_, c := serve(t)
	load := func(context.Context) (*user, error) { return nil, twintier.ErrAbsent }
	for range 2 {
		_, err := twintier.GetOrSet(t.Context(), c, "user:2", load, twintier.NegativeTTL(time.Minute))
		if !errors.Is(err, twintier.ErrAbsent) {
			t.Fatalf("got %v", err)
		}
	}
	equal(t, "loads", c.Counters()[twintier.Loads], 1)
	equal(t, "negative hits", c.Counters()[twintier.NegativeHits], 1)
}

func TestAnEntryThatIsDueIsRefreshedInTheBackground(t *testing.T) {
	_, c := serve(t)
	ok, err := c.Set(t.Context(), "k", "old", twintier.TTL(time.Hour), twintier.SoftTTL(time.Millisecond))
	stored(t, ok, err)
	load := func(context.Context) (string, error) { return "new", nil }
	testservice.Eventually(t, "the new value", func() bool {
		got, err := twintier.GetOrSet(t.Context(), c, "k", load, twintier.TTL(time.Hour))
		return err == nil && got == "new"
	})
	equal(t, "refreshes", c.Counters()[twintier.Refreshes], 1)
}

func TestLoadsGoOnWithoutTheService(t *testing.T) {
	c := open(t, "localhost:1", twintier.WithTimeout(50*time.Millisecond))
	load := func(context.Context) (int, error) { return 7, nil }
	for range 5 {
		got, err := twintier.GetOrSet(t.Context(), c, "k", load)
		succeeds(t, err)
		equal(t, "value", got, 7)
	}
	counters := c.Counters()
	equal(t, "opened", counters[twintier.BreakerOpened], 1)
	equal(t, "loads", counters[twintier.Loads], 5)
	if counters[twintier.BreakerSkipped] == 0 {
		t.Error("the open breaker skipped no call")
	}
}

func TestAClosedClientStillLoads(t *testing.T) {
	_, c := serve(t)
	succeeds(t, c.Close(t.Context()))
	got, err := twintier.GetOrSet(t.Context(), c, "k", func(context.Context) (int, error) { return 7, nil })
	succeeds(t, err)
	equal(t, "value", got, 7)
	if _, err := twintier.Get[int](t.Context(), c, "k", twintier.Strict(true)); !errors.Is(err, twintier.ErrClosed) {
		t.Errorf("a strict Get: %v", err)
	}
	if err := c.Close(t.Context()); !errors.Is(err, twintier.ErrClosed) {
		t.Errorf("a second Close: %v", err)
	}
}

func TestCallersInSessionsShareALoadAndItsToken(t *testing.T) {
	fleet := testservice.StartFleet(t, 1)
	c := open(t, fleet[0].Address)
	gate := make(chan struct{})
	sessions := make([]*twintier.Session, 5)
	var group sync.WaitGroup
	for i := range sessions {
		sessions[i] = c.Session()
		group.Add(1)
		go func() {
			defer group.Done()
			ctx := sessions[i].Context(t.Context())
			if _, err := twintier.GetOrSet(ctx, c, "k", func(context.Context) (int, error) { <-gate; return 7, nil }); err != nil {
				t.Error(err)
			}
		}()
	}
	testservice.Eventually(t, "4 callers share", func() bool { return c.Counters()[twintier.Shared] == 4 })
	close(gate)
	group.Wait()
	equal(t, "loads", c.Counters()[twintier.Loads], 1)
	for i, session := range sessions {
		if session.Text() == "" {
			t.Errorf("session %d has no token", i)
		}
	}
}

// brokenSerializer panics.
type brokenSerializer struct{ twintier.Serializer }

func (brokenSerializer) Marshal(any) ([]byte, error) { panic("broken") }

func TestASerializerThatPanicsPanicsInTheCaller(t *testing.T) {
	_, c := serve(t, twintier.WithSerializer(brokenSerializer{twintier.JSON}))
	defer func() { equal(t, "panic", recover(), any("broken")) }()
	_, _ = twintier.GetOrSet(t.Context(), c, "k", func(context.Context) (int, error) { return 7, nil })
	t.Error("no panic")
}
