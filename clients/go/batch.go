package twintier

import (
	"context"
	"errors"
	"io"
	"maps"
	"slices"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	twintierv1 "github.com/twintier/twintier/clients/go/twintier/v1"
)

const (
	// maxBatch is the number of entries in one call; the service allows 1000 by default.
	maxBatch = 500
	// maxBatchBytes is the size of the values in one call. A single larger value is sent alone.
	maxBatchBytes = 1 << 20
)

// GetMany returns the values of those keys that have one.
func GetMany[T any](ctx context.Context, c *Client, keys []string, options ...CallOption) (map[string]T, error) {
	values := make(map[string]T, len(keys))
	err := c.readMany(ctx, keys, options, func(key string, read func(target any) error) {
		var value T
		if read(&value) == nil {
			values[key] = value
		}
	})
	return values, err
}

// readMany reads entries in batches. found is called for each hit, and reads it into a target.
func (c *Client) readMany(
	ctx context.Context, keys []string, options []CallOption, found func(key string, read func(target any) error),
) error {
	o, err := c.prepare(options)
	if err != nil {
		return err
	}
	session := c.sessionOf(ctx)
	var rest []string
	for _, key := range slices.Compact(slices.Sorted(slices.Values(keys))) {
		if err := checkKey(key); err != nil {
			return err
		}
		if entry := c.near.find(key, o, session); entry != nil {
			found(key, func(target any) error { _, err := c.acceptNear(ctx, entry, target); return err })
		} else {
			rest = append(rest, key)
		}
	}
	for part := range slices.Chunk(rest, maxBatch) {
		if err := c.readBatch(ctx, part, o, session, found); err != nil {
			return err
		}
	}
	return nil
}

// readBatch reads entries in one call.
func (c *Client) readBatch(
	ctx context.Context, keys []string, o *callOptions, session *Session, found func(key string, read func(target any) error),
) error {
	mark := c.near.mark(o, session)
	items, err := c.fetchBatch(ctx, keys, o, session, mark)
	if err != nil {
		if err = c.failedRead(ctx, o, err); errors.Is(err, ErrMiss) {
			c.counters.add(ctx, Misses, len(keys)-1)
			return nil
		}
		return err
	}
	for _, item := range items {
		if failure := item.GetError(); failure != nil {
			if err := c.failedItem(ctx, opGetMany, failure); o.strict {
				return err
			}
		}
		key, answer := keys[item.GetIndex()], answerOf(item)
		c.near.keep(key, mark, answer)
		if answer.GetHit() == nil {
			_, _ = c.accept(ctx, answer, nil)
			continue
		}
		found(key, func(target any) error { _, err := c.accept(ctx, answer, target); return err })
	}
	return nil
}

// fetchBatch makes a BatchGet and collects its stream.
func (c *Client) fetchBatch(
	ctx context.Context, keys []string, o *callOptions, session *Session, mark *nearMark,
) ([]*twintierv1.BatchGetItem, error) {
	tokens, err := session.begin(ctx)
	if err != nil {
		return nil, err
	}
	request := &twintierv1.BatchGetRequest{Namespace: o.namespace, Keys: keys, Tokens: mark.addTo(tokens)}
	request.Consistency, request.MaxStaleness = o.readConsistency()
	all, err := call(ctx, c, opGetMany, o.timeout, c.collectBatch, request)
	session.end(tokens, all.GetToken())
	return all.GetItems(), err
}

// answerOf returns the answer that a Get of the item's key would have had.
func answerOf(item *twintierv1.BatchGetItem) *twintierv1.GetResponse {
	switch result := item.GetResult().(type) {
	case *twintierv1.BatchGetItem_Hit:
		return &twintierv1.GetResponse{Result: &twintierv1.GetResponse_Hit{Hit: result.Hit}}
	case *twintierv1.BatchGetItem_NegativeHit:
		return &twintierv1.GetResponse{Result: &twintierv1.GetResponse_NegativeHit{NegativeHit: result.NegativeHit}}
	default:
		return &twintierv1.GetResponse{Result: &twintierv1.GetResponse_Miss{Miss: item.GetMiss()}}
	}
}

// failedItem counts the failure of one item of a batch and converts it.
func (c *Client) failedItem(ctx context.Context, op operation, failure *twintierv1.ItemError) *Error {
	c.counters.inc(ctx, Failures)
	code := codes.Code(failure.GetCode())
	return &Error{
		Operation: op.name, Kind: kindOf(code), Code: code,
		RetryAfter: failure.GetRetryDelay().AsDuration(),
		Cause:      status.Error(code, failure.GetMessage()),
	}
}

// SetMany stores values, and returns the sorted keys of those that were stored.
func SetMany[T any](ctx context.Context, c *Client, values map[string]T, options ...CallOption) ([]string, error) {
	var items []*twintierv1.SetRequest
	var o *callOptions
	for _, key := range slices.Sorted(maps.Keys(values)) {
		item, itemOptions, err := c.setRequest(key, values[key], options)
		if err != nil {
			return nil, err
		}
		items, o = append(items, item), itemOptions
	}
	var stored []string
	for len(items) > 0 {
		n := batchLength(items)
		part, err := c.writeBatch(ctx, items[:n], o)
		stored, items = append(stored, part...), items[n:]
		if err != nil {
			c.counters.add(ctx, NotStored, len(items))
			return stored, err
		}
	}
	return stored, nil
}

// batchLength returns how many of the items fit into one call.
func batchLength(items []*twintierv1.SetRequest) int {
	size := 0
	for i, item := range items {
		size += len(item.GetValue())
		if i == maxBatch || i > 0 && size > maxBatchBytes {
			return i
		}
	}
	return len(items)
}

// writeBatch makes a BatchSet, and returns the keys that were stored.
func (c *Client) writeBatch(ctx context.Context, items []*twintierv1.SetRequest, o *callOptions) ([]string, error) {
	session := c.sessionOf(ctx)
	keys := make([]string, len(items))
	for i, item := range items {
		keys[i] = item.GetKey()
		item.Namespace = "" // that of the batch
	}
	c.near.drop(o, keys...)
	defer c.near.drop(o, keys...)
	tokens, err := session.begin(ctx)
	if err != nil {
		return nil, c.failedWrite(ctx, o, len(items), err)
	}
	request := &twintierv1.BatchSetRequest{Namespace: o.namespace, Items: items, Tokens: tokens}
	response, err := call(ctx, c, opSetMany, o.timeout, c.service.BatchSet, request)
	session.end(tokens, response.GetToken())
	if err != nil {
		return nil, c.failedWrite(ctx, o, len(items), err)
	}
	return c.storedKeys(ctx, keys, response, o)
}

// storedKeys returns the keys that were stored, and the first error if the call is strict.
func (c *Client) storedKeys(
	ctx context.Context, keys []string, response *twintierv1.BatchSetResponse, o *callOptions,
) (stored []string, err error) {
	for i, result := range response.GetResults() {
		if result.GetOutcome() == twintierv1.SetOutcome_SET_OUTCOME_STORED && i < len(keys) {
			stored = append(stored, keys[i])
			continue
		}
		c.counters.inc(ctx, NotStored)
		if failure := result.GetError(); failure != nil {
			if e := c.failedItem(ctx, opSetMany, failure); o.strict && err == nil {
				err = e
			}
		}
	}
	return stored, err
}

// collectBatch makes a BatchGet as if it were a unary call.
func (c *Client) collectBatch(
	ctx context.Context, request *twintierv1.BatchGetRequest, options ...grpc.CallOption,
) (*twintierv1.BatchGetResponse, error) {
	stream, err := c.service.BatchGet(ctx, request, options...)
	if err != nil {
		return nil, err
	}
	all := &twintierv1.BatchGetResponse{}
	for {
		part, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return nil, err
		}
		all.Items = append(all.Items, part.GetItems()...)
		all.Token = part.GetToken()
	}
}
