package twintier_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	twintier "github.com/twintier/twintier/clients/go"
)

func TestAnEntryHasFacts(t *testing.T) {
	_, c := serve(t)
	ok, err := c.Set(t.Context(), "k", "v", twintier.TTL(time.Hour), twintier.SourceVersion(5))
	stored(t, ok, err)
	entry, err := twintier.GetEntry[string](t.Context(), c, "k")
	succeeds(t, err)
	equal(t, "value", entry.Value, "v")
	equal(t, "stale", entry.Stale, false)
	equal(t, "source version", *entry.SourceVersion, 5)
	if entry.TTL <= time.Minute || entry.TTL > time.Hour || entry.Version == "" {
		t.Errorf("facts: %+v", entry)
	}
}

func TestManyKeysTakeSeveralCalls(t *testing.T) {
	_, c := serve(t)
	values := map[string]int{}
	var keys []string
	for i := range 1234 {
		key := fmt.Sprintf("k%04d", i)
		values[key], keys = i, append(keys, key)
	}
	storedKeys, err := twintier.SetMany(t.Context(), c, values)
	succeeds(t, err)
	if !slices.Equal(storedKeys, keys) {
		t.Fatalf("%d keys were stored", len(storedKeys))
	}
	got, err := twintier.GetMany[int](t.Context(), c, append(keys, "missing", "k0000"))
	succeeds(t, err)
	equal(t, "values", len(got), len(values))
	for key, value := range values {
		equal(t, key, got[key], value)
	}
	done, err := c.Invalidate(t.Context(), twintier.Keys(keys...))
	stored(t, done, err)
	got, err = twintier.GetMany[int](t.Context(), c, keys)
	succeeds(t, err)
	equal(t, "values after the invalidation", len(got), 0)
}

func TestSelectors(t *testing.T) {
	_, c := serve(t)
	for name, selector := range map[string]twintier.Selector{
		"key": twintier.Keys("user:42"), "tag": twintier.Tagged("blue"), "prefix": twintier.Prefix("user:42"),
		"pattern": twintier.Pattern("us*"), "all": twintier.All(),
	} {
		ok, err := c.Set(t.Context(), "user:42", name, twintier.Tags("blue"))
		stored(t, ok, err)
		done, err := c.Invalidate(t.Context(), selector)
		stored(t, done, err)
		if _, err := twintier.Get[string](t.Context(), c, "user:42"); !errors.Is(err, twintier.ErrMiss) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTouch(t *testing.T) {
	_, c := serve(t)
	touched, err := c.Touch(t.Context(), "k", time.Hour)
	succeeds(t, err)
	equal(t, "touched a missing entry", touched, false)
	ok, err := c.Set(t.Context(), "k", 1, twintier.TTL(time.Minute))
	stored(t, ok, err)
	touched, err = c.Touch(t.Context(), "k", 10*time.Hour)
	stored(t, touched, err)
	entry, err := twintier.GetEntry[int](t.Context(), c, "k")
	succeeds(t, err)
	if entry.TTL <= time.Hour {
		t.Errorf("the time to live is %s", entry.TTL)
	}
}

func TestAnUnreadableValueIsAMiss(t *testing.T) {
	replica, c := serve(t)
	other := open(t, replica.Address, twintier.WithSerializer(twintier.MessagePack))
	ok, err := other.Set(t.Context(), "k", 1)
	stored(t, ok, err)
	_, err = twintier.Get[int](t.Context(), c, "k")
	if !errors.Is(err, twintier.ErrMiss) || !errors.Is(err, twintier.ErrUnreadable) {
		t.Fatalf("got %v", err)
	}
	equal(t, "unreadable", c.Counters()[twintier.Unreadable], 1)
}

func TestFieldsOfMessagePackHaveTheNamesOfJSON(t *testing.T) {
	replica, c := serve(t, twintier.WithSerializer(twintier.MessagePack))
	ok, err := c.Set(t.Context(), "k", user{Name: "Ada"})
	stored(t, ok, err)
	other := open(t, replica.Address, twintier.WithSerializer(twintier.MessagePack))
	got, err := twintier.Get[map[string]any](t.Context(), other, "k")
	succeeds(t, err)
	equal(t, "name", got["name"], any("Ada"))
}

func TestAStrictErrorHasTheReasonOfTheService(t *testing.T) {
	_, c := serve(t, twintier.WithStrict())
	_, err := c.Set(t.Context(), "k", 1, twintier.Tags(""))
	var failure *twintier.Error
	if !errors.As(err, &failure) || !errors.Is(err, twintier.ErrRejected) {
		t.Fatalf("got %v", err)
	}
	equal(t, "reason", failure.Reason, "INVALID_REQUEST")
	equal(t, "code", failure.Code, codes.InvalidArgument)
	equal(t, "not stored", c.Counters()[twintier.NotStored], 1)
}

func TestAReplicaThatReturnsIsUsedAgain(t *testing.T) {
	replica, c := serve(t, twintier.WithTimeout(200*time.Millisecond))
	replica.Kill()
	ok, err := c.Set(t.Context(), "k", 1)
	succeeds(t, err)
	equal(t, "stored", ok, false)
	replica.Run()
	for end := time.Now().Add(patient); !ok; {
		if time.Now().After(end) {
			t.Fatal("not stored")
		}
		ok, err = c.Set(t.Context(), "k", 1)
		succeeds(t, err)
	}
}
