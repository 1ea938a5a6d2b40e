package twintier

import (
	"context"
	"crypto/rand"

	"google.golang.org/protobuf/types/known/durationpb"

	twintierv1 "github.com/twintier/twintier/clients/go/twintier/v1"
)

// Set stores a value, and reports whether it was stored. If the service is away or too late it
// reports false and no error, unless the call is strict.
func (c *Client) Set(ctx context.Context, key string, value any, options ...CallOption) (stored bool, err error) {
	request, o, err := c.setRequest(key, value, options)
	if err != nil {
		return false, err
	}
	return c.write(ctx, request, o)
}

// SetAbsent stores that a thing is known not to exist, for NegativeTTL.
func (c *Client) SetAbsent(ctx context.Context, key string, options ...CallOption) (stored bool, err error) {
	o, err := c.prepareKey(key, options)
	if err != nil {
		return false, err
	}
	return c.write(ctx, absentRequest(key, o), o)
}

// setRequest encodes a value and builds its request.
func (c *Client) setRequest(key string, value any, options []CallOption) (*twintierv1.SetRequest, *callOptions, error) {
	o, err := c.prepareKey(key, options)
	if err != nil {
		return nil, nil, err
	}
	data, err := encode(c.config.serializer, value)
	if err != nil {
		return nil, nil, err
	}
	return valueRequest(key, data, c.config.serializer.ContentType(), o), o, nil
}

// valueRequest builds the Set of a value.
func valueRequest(key string, data []byte, contentType string, o *callOptions) *twintierv1.SetRequest {
	request := &twintierv1.SetRequest{
		Namespace:     o.namespace,
		Key:           key,
		Content:       &twintierv1.SetRequest_Value{Value: data},
		ContentType:   contentType,
		SourceVersion: o.sourceVersion,
		SoftTtl:       optionalDuration(o.softTTL),
		Jitter:        o.jitter,
		Tags:          o.tags,
	}
	if o.ttl > 0 {
		request.Expiry = &twintierv1.SetRequest_Ttl{Ttl: durationpb.New(o.ttl)}
	}
	return request
}

// absentRequest builds the Set of a negative entry.
func absentRequest(key string, o *callOptions) *twintierv1.SetRequest {
	request := &twintierv1.SetRequest{
		Namespace:     o.namespace,
		Key:           key,
		Content:       &twintierv1.SetRequest_KnownAbsent{KnownAbsent: &twintierv1.KnownAbsent{}},
		SourceVersion: o.sourceVersion,
		Jitter:        o.jitter,
		Tags:          o.tags,
	}
	if o.negativeTTL > 0 {
		request.Expiry = &twintierv1.SetRequest_Ttl{Ttl: durationpb.New(o.negativeTTL)}
	}
	return request
}

// write makes a Set, and counts it if it was not stored.
func (c *Client) write(ctx context.Context, request *twintierv1.SetRequest, o *callOptions) (bool, error) {
	response, err := c.send(ctx, request, o)
	if err != nil {
		return false, c.failedWrite(ctx, o, 1, err)
	}
	stored := response.GetOutcome() == twintierv1.SetOutcome_SET_OUTCOME_STORED
	if !stored {
		c.counters.inc(ctx, NotStored)
	}
	return stored, nil
}

// send makes a Set with the tokens of the session.
func (c *Client) send(ctx context.Context, request *twintierv1.SetRequest, o *callOptions) (*twintierv1.SetResponse, error) {
	if request.GetCondition() != nil {
		request.RequestId = rand.Text() // a retry must not fail because of its own first effect
	}
	session := c.sessionOf(ctx)
	c.near.drop(o, request.GetKey())
	defer c.near.drop(o, request.GetKey())
	tokens, err := session.begin(ctx)
	if err != nil {
		return nil, err
	}
	request.Tokens = tokens
	response, err := call(ctx, c, opSet, o.timeout, c.service.Set, request)
	session.end(tokens, response.GetToken())
	return response, err
}

// failedWrite counts writes that failed, and returns their error if the call is strict.
func (c *Client) failedWrite(ctx context.Context, o *callOptions, writes int, err error) error {
	c.counters.add(ctx, NotStored, writes)
	return c.strictError(o, err)
}

// strictError returns nil in place of the service's error, unless the call is strict.
func (c *Client) strictError(o *callOptions, err error) error {
	if isServiceError(err) && !o.strict {
		return nil
	}
	return err
}
