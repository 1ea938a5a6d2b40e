package main

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"

	twintier "github.com/twintier/twintier/clients/go"
)

// prepared is a request whose client and options are known.
type prepared struct {
	*twintier.Client
	context.Context
	options []twintier.CallOption
}

func (r *runner) prepare(ctx context.Context, a *arguments) (*prepared, error) {
	c, ctx, err := r.client(ctx, a)
	if err != nil {
		return nil, err
	}
	options, err := a.callOptions()
	return &prepared{Client: c, Context: ctx, options: options}, err
}

// prepareValue is prepare, and converts the value.
func (r *runner) prepareValue(ctx context.Context, a *arguments) (*prepared, any, error) {
	p, err := r.prepare(ctx, a)
	if err != nil {
		return nil, nil, err
	}
	value, err := fromJSON(a.Value)
	return p, value, err
}

func opGet(r *runner, ctx context.Context, a *arguments) (any, error) {
	p, err := r.prepare(ctx, a)
	if err != nil {
		return nil, err
	}
	entry, err := twintier.GetEntry[any](p, p.Client, a.Key, p.options...)
	switch {
	case errors.Is(err, twintier.ErrAbsent):
		return map[string]bool{"absent": true}, nil
	case errors.Is(err, twintier.ErrMiss):
		return map[string]bool{"found": false}, nil
	case err != nil:
		return nil, err
	}
	return map[string]any{"found": true, "value": toJSON(entry.Value), "stale": entry.Stale}, nil
}

func opGetMany(r *runner, ctx context.Context, a *arguments) (any, error) {
	p, err := r.prepare(ctx, a)
	if err != nil {
		return nil, err
	}
	values, err := twintier.GetMany[any](p, p.Client, a.Keys, p.options...)
	if err != nil {
		return nil, err
	}
	return map[string]any{"values": toJSON(values)}, nil
}

func opSet(r *runner, ctx context.Context, a *arguments) (any, error) {
	p, value, err := r.prepareValue(ctx, a)
	if err != nil {
		return nil, err
	}
	stored, err := p.Set(p, a.Key, value, p.options...)
	return map[string]bool{"stored": stored}, err
}

func opSetMany(r *runner, ctx context.Context, a *arguments) (any, error) {
	p, err := r.prepare(ctx, a)
	if err != nil {
		return nil, err
	}
	values := map[string]any{}
	for key, data := range a.Values {
		if values[key], err = fromJSON(data); err != nil {
			return nil, err
		}
	}
	stored, err := twintier.SetMany(p, p.Client, values, p.options...)
	return map[string]any{"stored": append([]string{}, stored...)}, err
}

func opSetAbsent(r *runner, ctx context.Context, a *arguments) (any, error) {
	p, err := r.prepare(ctx, a)
	if err != nil {
		return nil, err
	}
	stored, err := p.SetAbsent(p, a.Key, p.options...)
	return map[string]bool{"stored": stored}, err
}

func opTouch(r *runner, ctx context.Context, a *arguments) (any, error) {
	p, err := r.prepare(ctx, a)
	if err != nil {
		return nil, err
	}
	ttl, err := parseDuration(a.TTL)
	if err != nil {
		return nil, fmt.Errorf("%w: ttl: %w", twintier.ErrUsage, err)
	}
	touched, err := p.Touch(p, a.Key, ttl, p.options...)
	return map[string]bool{"touched": touched}, err
}

func (a *arguments) selector() twintier.Selector {
	switch {
	case len(a.Keys) > 0:
		return twintier.Keys(a.Keys...)
	case len(a.Tags) > 0:
		return twintier.Tagged(a.Tags...)
	case a.Prefix != "":
		return twintier.Prefix(a.Prefix)
	case a.All:
		return twintier.All()
	default:
		return twintier.Pattern(a.Pattern)
	}
}

func opInvalidate(r *runner, ctx context.Context, a *arguments) (any, error) {
	p, err := r.prepare(ctx, a)
	if err != nil {
		return nil, err
	}
	done, err := p.Invalidate(p, a.selector(), p.options...)
	return map[string]bool{"done": done}, err
}

func opSetLater(r *runner, ctx context.Context, a *arguments) (any, error) {
	p, value, err := r.prepareValue(ctx, a)
	if err != nil {
		return nil, err
	}
	return map[string]bool{"queued": true}, p.SetLater(p, a.Key, value, p.options...)
}

func opInvalidateLater(r *runner, ctx context.Context, a *arguments) (any, error) {
	p, err := r.prepare(ctx, a)
	if err != nil {
		return nil, err
	}
	return map[string]bool{"queued": true}, p.InvalidateLater(p, a.selector(), p.options...)
}

func opCancel(r *runner, _ context.Context, a *arguments) (any, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if cancel, ok := r.cancels[string(a.Call)]; ok {
		cancel(errCancelled)
	}
	return struct{}{}, nil
}

func opKey(_ *runner, _ context.Context, a *arguments) (any, error) {
	template, err := twintier.ParseTemplate(a.Template)
	if err != nil {
		return nil, err
	}
	values := map[string]any{}
	for name, data := range a.Values {
		if values[name], err = fromJSON(data); err != nil {
			return nil, err
		}
	}
	key, err := template.KeyOf(values)
	return map[string]string{"key": key}, err
}

func opArgumentKey(_ *runner, _ context.Context, a *arguments) (any, error) {
	key, err := twintier.ArgumentKey(a.Prefix, a.Arguments)
	return map[string]string{"key": key}, err
}

func opEncode(_ *runner, _ context.Context, a *arguments) (any, error) {
	s, err := serializer(a.Serializer)
	if err != nil {
		return nil, err
	}
	value, err := fromJSON(a.Value)
	if err != nil {
		return nil, err
	}
	data, err := s.Marshal(value)
	return map[string]string{"bytes": base64.StdEncoding.EncodeToString(data), "content_type": s.ContentType()}, err
}

func opDecode(_ *runner, _ context.Context, a *arguments) (any, error) {
	s, err := serializer(a.Serializer)
	if err != nil {
		return nil, err
	}
	data, err := base64.StdEncoding.DecodeString(a.Bytes)
	if err != nil {
		return nil, err
	}
	var value any
	if err := twintier.Decode(s, a.ContentType, data, &value); err != nil {
		return nil, err
	}
	return map[string]any{"value": toJSON(value)}, nil
}
