package twintierotel_test

import (
	"context"
	"net"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	twintier "github.com/twintier/twintier/clients/go"
	twintierv1 "github.com/twintier/twintier/clients/go/twintier/v1"
	"github.com/twintier/twintier/clients/go/twintierotel"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// service answers every Get with a miss, and notes the trace context.
type service struct {
	twintierv1.UnimplementedCacheServiceServer
	parents chan string
}

func (s *service) Get(ctx context.Context, _ *twintierv1.GetRequest) (*twintierv1.GetResponse, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	s.parents <- append(md.Get("traceparent"), "")[0]
	return &twintierv1.GetResponse{Result: &twintierv1.GetResponse_Miss{Miss: &twintierv1.Miss{}}}, nil
}

func start(t *testing.T) (address string, s *service) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	s = &service{parents: make(chan string, 16)}
	twintierv1.RegisterCacheServiceServer(server, s)
	served := make(chan error)
	go func() { served <- server.Serve(listener) }()
	t.Cleanup(func() { server.Stop(); <-served })
	return listener.Addr().String(), s
}

func TestMetricsAndTraceContext(t *testing.T) {
	address, s := start(t)
	reader := metric.NewManualReader()
	provider := metric.NewMeterProvider(metric.WithReader(reader))
	telemetry, err := twintierotel.WithTelemetry(twintierotel.WithMeterProvider(provider),
		twintierotel.WithAttributes(attribute.String("client", "test")))
	if err != nil {
		t.Fatal(err)
	}
	c, err := twintier.Open(address, telemetry, twintier.WithTimeout(30*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close(context.Background()) }()

	parent := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}, TraceFlags: trace.FlagsSampled})
	ctx := trace.ContextWithSpanContext(t.Context(), parent)
	_, err = twintier.GetOrSet(ctx, c, "k", func(context.Context) (int, error) { return 7, nil })
	if err != nil {
		t.Fatal(err)
	}
	if got, want := <-s.parents, "00-01000000000000000000000000000000-0200000000000000-01"; got != want {
		t.Errorf("traceparent: got %q, want %q", got, want)
	}
	if _, err := twintier.Get[int](t.Context(), c, "k"); err == nil {
		t.Error("no miss")
	}
	if got := <-s.parents; got != "" {
		t.Errorf("traceparent without a trace: %q", got)
	}
	var all metricdata.ResourceMetrics
	if err := reader.Collect(t.Context(), &all); err != nil {
		t.Fatal(err)
	}
	checkSum(t, &all, "twintier.client.misses", 2)
	checkSum(t, &all, "twintier.client.loads", 1)
	checkCount(t, &all, "twintier.client.call.duration", attribute.String("rpc.method", "Get"), 2)
	checkCount(t, &all, "twintier.client.load.duration", attribute.Bool("background", false), 1)
}

func find(t *testing.T, all *metricdata.ResourceMetrics, name string) metricdata.Aggregation {
	t.Helper()
	for _, scope := range all.ScopeMetrics {
		for _, m := range scope.Metrics {
			if m.Name == name {
				return m.Data
			}
		}
	}
	t.Fatalf("no metric %s", name)
	return nil
}

func checkSum(t *testing.T, all *metricdata.ResourceMetrics, name string, want int64) {
	t.Helper()
	sum := find(t, all, name).(metricdata.Sum[int64])
	if client, _ := sum.DataPoints[0].Attributes.Value("client"); client.AsString() != "test" {
		t.Errorf("%s: attributes %v", name, sum.DataPoints[0].Attributes)
	}
	if got := sum.DataPoints[0].Value; got != want {
		t.Errorf("%s: got %d, want %d", name, got, want)
	}
}

func checkCount(t *testing.T, all *metricdata.ResourceMetrics, name string, with attribute.KeyValue, want uint64) {
	t.Helper()
	for _, point := range find(t, all, name).(metricdata.Histogram[float64]).DataPoints {
		if value, ok := point.Attributes.Value(with.Key); ok && value == with.Value && point.Count == want {
			return
		}
	}
	t.Errorf("%s: no point with %v and %d observations", name, with, want)
}
