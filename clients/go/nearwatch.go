package twintier

import (
	"context"
	"math/rand/v2"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	twintierv1 "github.com/twintier/twintier/clients/go/twintier/v1"
)

const (
	minWatchPause = 100 * time.Millisecond
	maxWatchPause = 2 * time.Second
)

// watch follows the changes of the namespace until the client ends.
func (n *nearCache) watch() {
	ctx := n.client.lifetime
	var position []string
	for pause := minWatchPause; ctx.Err() == nil; pause = min(2*pause, maxWatchPause) {
		received, err := n.watchOnce(ctx, &position)
		if received {
			pause = minWatchPause
		}
		if code := status.Code(err); code == codes.InvalidArgument || code == codes.OutOfRange {
			position = nil // not a position of this deployment
			n.lost()
		}
		select {
		case <-time.After(pause/2 + rand.N(pause)):
		case <-ctx.Done():
		}
	}
}

// watchOnce follows one stream. It updates position, from which the next one resumes.
func (n *nearCache) watchOnce(ctx context.Context, position *[]string) (received bool, err error) {
	interval := min(max(n.settings.MaxStaleness/4, minHeartbeat), maxHeartbeat)
	silence := 4*interval + time.Second
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	watchdog := time.AfterFunc(silence, cancel) // another replica may answer
	defer watchdog.Stop()

	called := clock()
	if len(*position) == 0 {
		n.lost()
	}
	stream, err := n.client.service.Watch(ctx, &twintierv1.WatchRequest{
		Namespace:         n.client.config.call.namespace,
		Tokens:            *position,
		HeartbeatInterval: durationpb.New(interval),
	})
	for err == nil {
		var message *twintierv1.WatchResponse
		if message, err = stream.Recv(); err == nil {
			received = true
			watchdog.Reset(silence)
			n.apply(message, called, position)
		}
	}
	return received, err
}

// apply takes in an event of a watch that was called at a time.
func (n *nearCache) apply(message *twintierv1.WatchResponse, called int64, position *[]string) {
	switch event := message.GetEvent().(type) {
	case *twintierv1.WatchResponse_Change:
		n.applyChange(event.Change)
		if token := event.Change.GetToken(); token != "" && len(*position) < maxTokens {
			*position = append(*position, token)
		}
	case *twintierv1.WatchResponse_Discontinuity:
		n.lost()
	case *twintierv1.WatchResponse_Heartbeat:
		*position = []string{event.Heartbeat.GetToken()}
		n.proof.Store(n.prove(event.Heartbeat, called))
	}
}

func (n *nearCache) applyChange(change *twintierv1.WatchChange) {
	switch covers := change.GetCovers().(type) {
	case *twintierv1.WatchChange_Keys:
		n.changed(covers.Keys.GetKeys())
	case *twintierv1.WatchChange_Prefix:
		n.changedBelow(covers.Prefix)
	default: // a pattern, the whole namespace, or a tag: the tags of entries are not known
		n.changedBelow("")
	}
}

// lost drops everything: changes may have been missed.
func (n *nearCache) lost() { n.changedBelow("") }

// prove returns the position of a heartbeat. It was sent at the earliest "elapsed" after the call.
func (n *nearCache) prove(heartbeat *twintierv1.WatchHeartbeat, called int64) *nearProof {
	proof := &nearProof{token: heartbeat.GetToken(), changes: n.changes.Load(), at: n.proof.Load().at}
	if heartbeat.GetProofAge() != nil {
		sent := called + int64(heartbeat.GetElapsed().AsDuration())
		proof.at = max(1, sent-int64(heartbeat.GetProofAge().AsDuration()))
	}
	return proof
}
