package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	twintier "github.com/twintier/twintier/clients/go"
)

// loader describes a loader of the protocol.
type loader struct {
	Name   string          `json:"name"`
	Value  json.RawMessage `json:"value"`
	Absent bool            `json:"absent"`
	Error  string          `json:"error"`
	Gate   string          `json:"gate"`
	Delay  duration        `json:"delay"`
}

// loaderCount counts the runs of all loaders of one name.
type loaderCount struct {
	Started int `json:"started"`
	Ended   int `json:"ended"`
}

// loader returns the loader of a request as a function.
func (r *runner) loader(a *arguments) (func(context.Context) (any, error), error) {
	var l loader
	if err := strict(a.Loader, &l); err != nil {
		return nil, unsupported("loader", err.Error())
	}
	return func(ctx context.Context) (any, error) {
		r.count(l.Name, func(count *loaderCount) { count.Started++ })
		defer r.count(l.Name, func(count *loaderCount) { count.Ended++ })
		if err := r.pass(ctx, &l); err != nil {
			return nil, err
		}
		switch {
		case l.Error != "":
			return nil, loaderError(l.Error)
		case l.Absent:
			return nil, twintier.ErrAbsent
		default:
			return fromJSON(l.Value)
		}
	}, nil
}

// pass waits for a loader's gate and delay.
func (r *runner) pass(ctx context.Context, l *loader) error {
	if l.Gate != "" {
		select {
		case <-r.gate(l.Gate):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	select {
	case <-time.After(time.Duration(l.Delay)):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (r *runner) count(name string, change func(*loaderCount)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.loaders[name] == nil {
		r.loaders[name] = &loaderCount{}
	}
	change(r.loaders[name])
}

// gate returns the channel that is closed when the gate opens.
func (r *runner) gate(name string) chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.gates[name] == nil {
		r.gates[name] = make(chan struct{})
	}
	return r.gates[name]
}

func opOpen(r *runner, _ context.Context, a *arguments) (any, error) {
	gate := r.gate(a.Gate)
	r.mu.Lock()
	defer r.mu.Unlock()
	select {
	case <-gate:
	default:
		close(gate)
	}
	return struct{}{}, nil
}

func opLoads(r *runner, _ context.Context, a *arguments) (any, error) {
	var name string
	if err := json.Unmarshal(a.Loader, &name); err != nil {
		return nil, err
	}
	var result loaderCount
	r.count(name, func(count *loaderCount) { result = *count })
	return result, nil
}

func opGetOrSet(r *runner, ctx context.Context, a *arguments) (any, error) {
	p, err := r.prepare(ctx, a)
	if err != nil {
		return nil, err
	}
	load, err := r.loader(a)
	if err != nil {
		return nil, err
	}
	value, err := twintier.GetOrSet(p, p.Client, a.Key, load, p.options...)
	if errors.Is(err, twintier.ErrAbsent) {
		return map[string]bool{"absent": true}, nil
	}
	return map[string]any{"value": toJSON(value)}, err
}

func opManyCallers(r *runner, ctx context.Context, a *arguments) (any, error) {
	p, err := r.prepare(ctx, a)
	if err != nil {
		return nil, err
	}
	load, err := r.loader(a)
	if err != nil {
		return nil, err
	}
	var mu sync.Mutex
	var group sync.WaitGroup
	distinct, failures := map[string]any{}, 0
	for range a.Callers {
		group.Add(1)
		go func() {
			defer group.Done()
			value, err := twintier.GetOrSet(p, p.Client, a.Key, load, p.options...)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				failures++
				return
			}
			distinct[fmt.Sprint(toJSON(value))] = toJSON(value)
		}()
	}
	group.Wait()
	values := []any{}
	for _, text := range sortedKeys(distinct) {
		values = append(values, distinct[text])
	}
	return map[string]any{"values": values, "errors": failures}, nil
}

func sortedKeys(values map[string]any) []string {
	keys := make([]string, 0, len(values))
	for key := range values {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}
