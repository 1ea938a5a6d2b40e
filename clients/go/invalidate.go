package twintier

import (
	"context"
	"slices"

	twintierv1 "github.com/twintier/twintier/clients/go/twintier/v1"
)

// Selector selects entries to invalidate.
type Selector struct {
	keys, tags      []string
	prefix, pattern string
	all             bool
}

// Keys selects entries by key.
func Keys(keys ...string) Selector { return Selector{keys: keys} }

// Tagged selects the entries that have at least one of the tags.
func Tagged(tags ...string) Selector { return Selector{tags: tags} }

// Prefix selects the entries below key segments: "user:42" covers "user:42" and "user:42:name", but
// not "user:421".
func Prefix(prefix string) Selector { return Selector{prefix: prefix} }

// Pattern selects the entries whose key matches: * matches any characters, ? matches one, and \
// takes the next one literally.
func Pattern(pattern string) Selector { return Selector{pattern: pattern} }

// All selects every entry of the namespace.
func All() Selector { return Selector{all: true} }

// Invalidate removes entries, and reports whether the service has done it. If the service is away
// or too late it reports false and no error, unless the call is strict.
func (c *Client) Invalidate(ctx context.Context, selector Selector, options ...CallOption) (done bool, err error) {
	o, err := c.prepareInvalidate(selector, options)
	if err != nil {
		return false, err
	}
	return c.invalidate(ctx, selector, o)
}

func (c *Client) prepareInvalidate(selector Selector, options []CallOption) (*callOptions, error) {
	for _, key := range selector.keys {
		if err := checkKey(key); err != nil {
			return nil, err
		}
	}
	if len(selector.keys)+len(selector.tags)+len(selector.prefix)+len(selector.pattern) == 0 && !selector.all {
		return nil, usageError("selector", "empty", "it must select something")
	}
	o, err := c.prepare(options)
	if err == nil && o.sourceVersion != nil && len(selector.keys) != 1 {
		return nil, usageError("source_version", *o.sourceVersion, "it is allowed with one key only")
	}
	return o, err
}

// invalidate makes as many calls as the number of keys needs.
func (c *Client) invalidate(ctx context.Context, selector Selector, o *callOptions) (bool, error) {
	c.near.dropSelected(o, selector)
	defer c.near.dropSelected(o, selector)
	if len(selector.keys) == 0 {
		return c.invalidateOnce(ctx, selector, o)
	}
	for keys := range slices.Chunk(selector.keys, maxBatch) {
		if done, err := c.invalidateOnce(ctx, Keys(keys...), o); !done {
			return false, err
		}
	}
	return true, nil
}

func (c *Client) invalidateOnce(ctx context.Context, selector Selector, o *callOptions) (bool, error) {
	session := c.sessionOf(ctx)
	tokens, err := session.begin(ctx)
	if err != nil {
		return false, c.failedWrite(ctx, o, 1, err)
	}
	request := &twintierv1.InvalidateRequest{Namespace: o.namespace, Tokens: tokens, SourceVersion: o.sourceVersion}
	selector.fill(request)
	response, err := call(ctx, c, opInvalidate, o.timeout, c.service.Invalidate, request)
	session.end(tokens, response.GetToken())
	if err != nil {
		return false, c.failedWrite(ctx, o, 1, err)
	}
	return true, nil
}

// fill sets the selector of a request.
func (s Selector) fill(request *twintierv1.InvalidateRequest) {
	switch {
	case len(s.keys) == 1:
		request.Selector = &twintierv1.InvalidateRequest_Key{Key: s.keys[0]}
	case len(s.keys) > 1:
		request.Selector = &twintierv1.InvalidateRequest_Keys{Keys: &twintierv1.Keys{Keys: s.keys}}
	case len(s.tags) > 0:
		request.Selector = &twintierv1.InvalidateRequest_Tags{Tags: &twintierv1.Tags{Tags: s.tags}}
	case s.prefix != "":
		request.Selector = &twintierv1.InvalidateRequest_Prefix{Prefix: s.prefix}
	case s.pattern != "":
		request.Selector = &twintierv1.InvalidateRequest_Pattern{Pattern: s.pattern}
	default:
		request.Selector = &twintierv1.InvalidateRequest_WholeNamespace{WholeNamespace: &twintierv1.WholeNamespace{}}
	}
}
