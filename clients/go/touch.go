package twintier

import (
	"context"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	twintierv1 "github.com/twintier/twintier/clients/go/twintier/v1"
)

// Touch changes the time to live of an entry, and reports whether there was one.
func (c *Client) Touch(ctx context.Context, key string, ttl time.Duration, options ...CallOption) (touched bool, err error) {
	o, err := c.prepareKey(key, append(options[:len(options):len(options)], TTL(ttl)))
	if err != nil {
		return false, err
	}
	session := c.sessionOf(ctx)
	c.near.drop(o, key)
	defer c.near.drop(o, key)
	tokens, err := session.begin(ctx)
	if err != nil {
		return false, c.failedWrite(ctx, o, 1, err)
	}
	request := &twintierv1.TouchRequest{
		Namespace: o.namespace, Key: key, Expiry: &twintierv1.TouchRequest_Ttl{Ttl: durationpb.New(ttl)}, Tokens: tokens,
	}
	response, err := call(ctx, c, opTouch, o.timeout, c.service.Touch, request)
	session.end(tokens, response.GetToken())
	if err != nil {
		return false, c.failedWrite(ctx, o, 1, err)
	}
	return response.GetOutcome() == twintierv1.TouchOutcome_TOUCH_OUTCOME_TOUCHED, nil
}
