package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	twintier "github.com/twintier/twintier/clients/go"
)

// arguments is a request of the harness.
type arguments struct {
	ID          json.RawMessage            `json:"id"`
	Op          string                     `json:"op"`
	Client      string                     `json:"client"`
	Session     string                     `json:"session"`
	Addresses   []string                   `json:"addresses"`
	Options     map[string]json.RawMessage `json:"options"`
	Drain       string                     `json:"drain"`
	Text        string                     `json:"text"`
	Key         string                     `json:"key"`
	Keys        []string                   `json:"keys"`
	Value       json.RawMessage            `json:"value"`
	Values      map[string]json.RawMessage `json:"values"`
	TTL         string                     `json:"ttl"`
	Tags        []string                   `json:"tags"`
	Prefix      string                     `json:"prefix"`
	Pattern     string                     `json:"pattern"`
	All         bool                       `json:"all"`
	Loader      json.RawMessage            `json:"loader"`
	Callers     int                        `json:"callers"`
	Call        json.RawMessage            `json:"call"`
	Gate        string                     `json:"gate"`
	Template    string                     `json:"template"`
	Arguments   json.RawMessage            `json:"arguments"`
	Serializer  string                     `json:"serializer"`
	Bytes       string                     `json:"bytes"`
	ContentType string                     `json:"content_type"`
}

// parseArguments reads a request. Arguments that are not known are refused with the answer.
func parseArguments(line []byte) (*arguments, error) {
	a := &arguments{}
	if err := strict(line, a); err != nil {
		if json.Unmarshal(line, a) != nil || len(a.ID) == 0 {
			return nil, fmt.Errorf("request %q: %w", line, err)
		}
		a.Op = "argument: " + err.Error()
	}
	return a, nil
}

// strict decodes JSON, and refuses fields that are not known.
func strict(data []byte, into any) error {
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	return decoder.Decode(into)
}

// duration is text such as "250ms".
type duration time.Duration

func (d *duration) UnmarshalJSON(data []byte) error {
	var text string
	if err := json.Unmarshal(data, &text); err != nil {
		return err
	}
	parsed, err := parseDuration(text)
	*d = duration(parsed)
	if err != nil {
		return fmt.Errorf("%w: %w", twintier.ErrUsage, err)
	}
	return nil
}

// parseDuration also takes days, as the configuration does.
func parseDuration(text string) (time.Duration, error) {
	if n := len(text); n > 1 && text[n-1] == 'd' {
		days, err := strconv.Atoi(text[:n-1])
		return time.Duration(days) * 24 * time.Hour, err
	}
	return time.ParseDuration(text)
}

// callOptions converts the options of a call.
func (a *arguments) callOptions() ([]twintier.CallOption, error) {
	var options []twintier.CallOption
	for name, value := range a.Options {
		convert, ok := callOptions[name]
		if !ok {
			return nil, unsupported("option", name)
		}
		option, err := convert(value)
		if err != nil {
			return nil, fmt.Errorf("%w: option %s: %w", twintier.ErrUsage, name, err)
		}
		options = append(options, option)
	}
	return options, nil
}

var callOptions = map[string]func(json.RawMessage) (twintier.CallOption, error){
	"ttl":            durationOption(twintier.TTL),
	"soft_ttl":       durationOption(twintier.SoftTTL),
	"negative_ttl":   durationOption(twintier.NegativeTTL),
	"max_staleness":  durationOption(twintier.MaxStaleness),
	"timeout":        durationOption(twintier.Timeout),
	"lease_duration": durationOption(twintier.LeaseDuration),
	"lease_wait":     durationOption(twintier.LeaseWait),
	"tags":           option(func(tags []string) twintier.CallOption { return twintier.Tags(tags...) }),
	"source_version": option(twintier.SourceVersion),
	"jitter":         option(twintier.Jitter),
	"namespace":      option(twintier.Namespace),
	"strict":         option(twintier.Strict),
	"stale_if_error": option(staleIfError),
	"consistency":    consistency,
}

// option converts an option whose argument is JSON of its type.
func option[T any](make func(T) twintier.CallOption) func(json.RawMessage) (twintier.CallOption, error) {
	return func(data json.RawMessage) (twintier.CallOption, error) {
		var value T
		err := json.Unmarshal(data, &value)
		return make(value), err
	}
}

func durationOption(make func(time.Duration) twintier.CallOption) func(json.RawMessage) (twintier.CallOption, error) {
	return option(func(d duration) twintier.CallOption { return make(time.Duration(d)) })
}

func staleIfError(accept bool) twintier.CallOption {
	return twintier.StaleIfError(accept)
}

func consistency(data json.RawMessage) (twintier.CallOption, error) {
	levels := map[string]twintier.Level{
		`"bounded"`: twintier.Bounded, `"strong"`: twintier.Strong, `"eventual"`: twintier.Eventual,
	}
	level, ok := levels[string(data)]
	if !ok {
		return nil, unsupported("consistency", string(data))
	}
	return twintier.Consistency(level), nil
}

// unsupportedError says that the runner does not know something.
type unsupportedError string

func (e unsupportedError) Error() string { return string(e) }

func unsupported(what, name string) error {
	return unsupportedError(what + " " + name + " is not known")
}

// loaderError is an error of a loader.
type loaderError string

func (e loaderError) Error() string { return string(e) }

// errCancelled is the cause of a context that "cancel" has ended.
var errCancelled = errors.New("cancelled")

// errorKind returns the kind of an error by its name in the protocol.
func errorKind(err error) string {
	var loader loaderError
	var unknown unsupportedError
	switch {
	case errors.As(err, &loader):
		return "loader"
	case errors.As(err, &unknown):
		return "unsupported"
	case errors.Is(err, errCancelled), errors.Is(err, context.Canceled):
		return "cancelled"
	}
	kinds := []struct {
		is   error
		name string
	}{
		{twintier.ErrUnavailable, "unavailable"}, {twintier.ErrDeadline, "deadline"}, {twintier.ErrRejected, "rejected"},
		{twintier.ErrUnauthenticated, "unauthenticated"}, {twintier.ErrDenied, "denied"}, {twintier.ErrUsage, "usage"},
		{twintier.ErrUnreadable, "unreadable"},
	}
	for _, kind := range kinds {
		if errors.Is(err, kind.is) {
			return kind.name
		}
	}
	return "internal"
}
