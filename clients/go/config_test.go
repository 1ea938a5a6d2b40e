package twintier_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	twintier "github.com/twintier/twintier/clients/go"
)

func TestWrongOptionsAreNamed(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "missing")
	empty := filepath.Join(t.TempDir(), "empty")
	succeeds(t, os.WriteFile(empty, nil, 0o600))
	for name, option := range map[string]twintier.Option{
		"namespace":    twintier.WithNamespace("No Namespace"),
		"timeout":      twintier.WithTimeout(0),
		"lease_wait":   twintier.WithLeaseWait(-time.Second),
		"capacity":     twintier.WithLaterQueue(0),
		"refreshes":    twintier.WithRefreshes(0),
		"serializer":   twintier.WithSerializer(nil),
		"ttl":          twintier.WithCallDefaults(twintier.TTL(0)),
		"jitter":       twintier.WithCallDefaults(twintier.Jitter(0.6)),
		"near cache":   twintier.WithNearCache(twintier.NearCache{MaxAge: -1}),
		"token_file":   twintier.WithTokenFile(missing),
		"is empty":     twintier.WithTokenFile(empty),
		"ca_file":      twintier.WithTLSFiles(twintier.TLSFiles{CA: missing}),
		"no certifica": twintier.WithTLSFiles(twintier.TLSFiles{CA: empty}),
		"needs both":   twintier.WithTLSFiles(twintier.TLSFiles{Cert: empty}),
	} {
		_, err := twintier.Open("localhost:1", option)
		if !errors.Is(err, twintier.ErrUsage) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAddressesAreNeeded(t *testing.T) {
	for _, addresses := range [][]string{nil, {""}, {"localhost:1", ""}} {
		if _, err := twintier.New(addresses); !errors.Is(err, twintier.ErrUsage) {
			t.Errorf("%q: %v", addresses, err)
		}
	}
}

func TestWrongArgumentsAreErrorsAlsoWhenTheServiceIsAway(t *testing.T) {
	c := open(t, "localhost:1")
	ctx := t.Context()
	for name, err := range map[string]error{
		"key":            second(c.Set(ctx, "", 1)),
		"UTF-8":          second(c.Set(ctx, "\xff", 1)),
		"encoded":        second(c.Set(ctx, "k", func() {})),
		"soft_ttl":       second(c.Set(ctx, "k", 1, twintier.SoftTTL(-time.Second))),
		"ttl":            second(c.Touch(ctx, "k", 0)),
		"namespace":      second(twintier.Get[int](ctx, c, "k", twintier.Namespace("-"))),
		"Strong":         second(twintier.Get[int](ctx, c, "k", twintier.Consistency(twintier.Strong), twintier.MaxStaleness(1))),
		"selector":       second(c.Invalidate(ctx, twintier.Keys())),
		"source_version": second(c.Invalidate(ctx, twintier.All(), twintier.SourceVersion(1))),
	} {
		if !errors.Is(err, twintier.ErrUsage) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func second[T any](_ T, err error) error { return err }
