package twintier_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	twintier "github.com/twintier/twintier/clients/go"
)

func TestCloseStoresWhatWaits(t *testing.T) {
	replica, c := serve(t)
	for i := range 100 {
		succeeds(t, c.SetLater(t.Context(), fmt.Sprintf("k%d", i), i))
	}
	succeeds(t, c.InvalidateLater(t.Context(), twintier.Keys("k0")))
	succeeds(t, c.Close(t.Context()))
	if err := c.SetLater(t.Context(), "k", 1); !errors.Is(err, twintier.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
	reader := open(t, replica.Address)
	for i := range 100 {
		got, err := twintier.Get[int](t.Context(), reader, fmt.Sprintf("k%d", i))
		if i == 0 {
			equal(t, "invalidated", errors.Is(err, twintier.ErrMiss), true)
			continue
		}
		succeeds(t, err)
		equal(t, "value", got, i)
	}
}

func TestTheOldestIsDroppedAndCountedWhenTheQueueIsFull(t *testing.T) {
	replica, c := serve(t, twintier.WithLaterQueue(3))
	replica.Freeze()
	for i := range 10 { // one may be in flight beside the queue
		succeeds(t, c.SetLater(t.Context(), fmt.Sprintf("k%d", i), i))
	}
	dropped := c.Counters()[twintier.LaterDropped]
	if dropped != 6 && dropped != 7 {
		t.Errorf("%d were dropped", dropped)
	}
	replica.Thaw()
	succeeds(t, c.Close(t.Context()))
	reader := open(t, replica.Address)
	for i := 7; i < 10; i++ {
		got, err := twintier.Get[int](t.Context(), reader, fmt.Sprintf("k%d", i))
		succeeds(t, err)
		equal(t, "value", got, i)
	}
}

func TestCloseReportsLostWrites(t *testing.T) {
	replica, c := serve(t)
	replica.Freeze()
	for i := range 3 {
		succeeds(t, c.SetLater(t.Context(), "k", i))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := c.Close(ctx); !errors.Is(err, twintier.ErrNotDrained) {
		t.Errorf("got %v", err)
	}
}
