package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	twintier "github.com/twintier/twintier/clients/go"
)

// clientOptions are the options of "client".
type clientOptions struct {
	Namespace  string       `json:"namespace"`
	Timeout    duration     `json:"timeout"`
	LeaseWait  duration     `json:"lease_wait"`
	Strict     bool         `json:"strict"`
	Serializer string       `json:"serializer"`
	NearCache  *nearOptions `json:"near_cache"`
	LaterQueue int          `json:"later_queue"`
	TokenFile  string       `json:"token_file"`
	CAFile     string       `json:"ca_file"`
	CertFile   string       `json:"cert_file"`
	KeyFile    string       `json:"key_file"`
}

type nearOptions struct {
	MaxBytes     uint64   `json:"max_bytes"`
	MaxStaleness duration `json:"max_staleness"`
}

func opClient(r *runner, _ context.Context, a *arguments) (any, error) {
	var given clientOptions
	if len(a.Options) > 0 {
		data, err := json.Marshal(a.Options)
		if err != nil {
			return nil, err
		}
		if err := strict(data, &given); errors.Is(err, twintier.ErrUsage) {
			return nil, err
		} else if err != nil {
			return nil, unsupported("client option", err.Error())
		}
	}
	options, err := given.options()
	if err != nil {
		return nil, err
	}
	c, err := twintier.New(a.Addresses, options...)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.clients[a.Client] = c
	return struct{}{}, nil
}

func (o *clientOptions) options() ([]twintier.Option, error) {
	var options []twintier.Option
	add := func(given bool, option twintier.Option) {
		if given {
			options = append(options, option)
		}
	}
	add(o.Namespace != "", twintier.WithNamespace(o.Namespace))
	add(o.Timeout != 0, twintier.WithTimeout(time.Duration(o.Timeout)))
	add(o.LeaseWait != 0, twintier.WithLeaseWait(time.Duration(o.LeaseWait)))
	add(o.Strict, twintier.WithStrict())
	add(o.LaterQueue != 0, twintier.WithLaterQueue(o.LaterQueue))
	add(o.TokenFile != "", twintier.WithTokenFile(o.TokenFile))
	add(o.CAFile != "", twintier.WithTLSFiles(twintier.TLSFiles{CA: o.CAFile, Cert: o.CertFile, Key: o.KeyFile}))
	if o.NearCache != nil {
		add(true, twintier.WithNearCache(twintier.NearCache{
			MaxBytes: o.NearCache.MaxBytes, MaxStaleness: time.Duration(o.NearCache.MaxStaleness),
		}))
	}
	if o.Serializer != "" {
		s, err := serializer(o.Serializer)
		if err != nil {
			return nil, err
		}
		add(true, twintier.WithSerializer(s))
	}
	return options, nil
}

func opClose(r *runner, ctx context.Context, a *arguments) (any, error) {
	c, _, err := r.client(ctx, a)
	if err != nil {
		return nil, err
	}
	limit, err := parseDuration(cmp.Or(a.Drain, "5s"))
	if err != nil {
		return nil, fmt.Errorf("%w: drain: %w", twintier.ErrUsage, err)
	}
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return map[string]bool{"drained": c.Close(limited) == nil}, nil
}

func opSession(r *runner, ctx context.Context, a *arguments) (any, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c, ok := r.clients[a.Client]
	if !ok {
		return nil, unsupported("client", a.Client)
	}
	session, err := c.SessionFromText(a.Text)
	if err != nil {
		return nil, err
	}
	r.sessions[a.Session] = &namedSession{client: c, session: session}
	return struct{}{}, nil
}

func opSessionText(r *runner, _ context.Context, a *arguments) (any, error) {
	r.mu.Lock()
	s, ok := r.sessions[a.Session]
	r.mu.Unlock()
	if !ok {
		return nil, unsupported("session", a.Session)
	}
	return map[string]string{"text": s.session.Text()}, nil
}

func opCounters(r *runner, ctx context.Context, a *arguments) (any, error) {
	c, _, err := r.client(ctx, a)
	if err != nil {
		return nil, err
	}
	result := map[string]uint64{}
	counters := c.Counters()
	for _, metric := range twintier.Metrics() {
		result[metric.String()] = counters[metric]
	}
	return result, nil
}
