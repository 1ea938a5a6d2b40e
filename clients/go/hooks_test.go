package twintier_test

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	twintier "github.com/twintier/twintier/clients/go"
	"github.com/twintier/twintier/clients/go/internal/testservice"
	twintierv1 "github.com/twintier/twintier/clients/go/twintier/v1"
)

func TestHooksReportCountsCallsAndLoads(t *testing.T) {
	var mu sync.Mutex
	counts := map[twintier.Metric]int{}
	var calls []string
	var loadFailure error
	_, c := serve(t, twintier.WithHooks(twintier.Hooks{
		Counted: func(_ context.Context, metric twintier.Metric, n int) {
			mu.Lock()
			defer mu.Unlock()
			counts[metric] += n
		},
		CallEnded: func(_ context.Context, operation string, duration time.Duration, err error) {
			mu.Lock()
			defer mu.Unlock()
			calls = append(calls, operation)
			equal(t, "duration", duration > 0, true)
			equal(t, "error", err, nil)
		},
		LoadEnded: func(_ context.Context, background bool, _ time.Duration, err error) {
			mu.Lock()
			defer mu.Unlock()
			equal(t, "background", background, false)
			loadFailure = err
		},
	}))
	failure := errors.New("no")
	_, _ = twintier.GetOrSet(t.Context(), c, "k", func(context.Context) (int, error) { return 0, failure })
	mu.Lock()
	defer mu.Unlock()
	equal(t, "misses", counts[twintier.Misses], 1)
	equal(t, "load failures", counts[twintier.LoadFailures], 1)
	equal(t, "failure", loadFailure, failure)
	equal(t, "calls", len(calls), 2)
	for _, metric := range twintier.Metrics() {
		equal(t, metric.String(), uint64(counts[metric]), c.Counters()[metric])
	}
}

// recorder is a service that notes the metadata of requests.
type recorder struct {
	twintierv1.UnimplementedCacheServiceServer
	seen chan metadata.MD
}

func (r *recorder) Get(ctx context.Context, _ *twintierv1.GetRequest) (*twintierv1.GetResponse, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	r.seen <- md
	return nil, status.Error(codes.NotFound, "no")
}

func TestATokenIsReadAnewAndMetadataTravels(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	succeeds(t, err)
	server := grpc.NewServer()
	r := &recorder{seen: make(chan metadata.MD, 1)}
	twintierv1.RegisterCacheServiceServer(server, r)
	served := make(chan error)
	go func() { served <- server.Serve(listener) }()
	defer func() { server.Stop(); <-served }()

	path := filepath.Join(t.TempDir(), "token")
	succeeds(t, os.WriteFile(path, []byte("first\n"), 0o600))
	c := open(t, listener.Addr().String(), twintier.WithTokenFile(path))
	const parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	ctx := metadata.AppendToOutgoingContext(t.Context(), "traceparent", parent)
	header := func(name string) string {
		_, _ = twintier.GetOrSet(ctx, c, "k", func(context.Context) (int, error) { return 0, nil })
		return (<-r.seen).Get(name)[0]
	}
	equal(t, "token", header("authorization"), "Bearer first")
	equal(t, "trace", header("traceparent"), parent)
	succeeds(t, os.WriteFile(path, []byte("second"), 0o600))
	testservice.Eventually(t, "the second token", func() bool { return header("authorization") == "Bearer second" })
	succeeds(t, os.Remove(path))
	equal(t, "token without its file", header("authorization"), "Bearer second")
}
