package twintier_test

import (
	"context"
	"testing"
	"time"

	"go.uber.org/goleak"

	twintier "github.com/twintier/twintier/clients/go"
	"github.com/twintier/twintier/clients/go/internal/testservice"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patient is a timeout that no busy machine reaches.
const patient = 30 * time.Second

// open creates a client that is closed with the test.
func open(t *testing.T, address string, options ...twintier.Option) *twintier.Client {
	t.Helper()
	c, err := twintier.Open(address, append([]twintier.Option{twintier.WithTimeout(patient)}, options...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patient)
		defer cancel()
		_ = c.Close(ctx) // a test may have closed it
	})
	return c
}

// serve starts a replica without Redis and a client of it.
func serve(t *testing.T, options ...twintier.Option) (*testservice.Replica, *twintier.Client) {
	t.Helper()
	replica := testservice.Start(t)
	return replica, open(t, replica.Address, options...)
}

func equal[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

func succeeds(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// stored fails unless a write was stored.
func stored(t *testing.T, ok bool, err error) {
	t.Helper()
	succeeds(t, err)
	if !ok {
		t.Fatal("not stored")
	}
}
