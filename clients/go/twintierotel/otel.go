// Package twintierotel reports what a client of twintier does to OpenTelemetry, and sends the trace
// context of calls to the service.
//
//	telemetry, err := twintierotel.WithTelemetry()
//	client, err := twintier.Open("localhost:50051", telemetry)
package twintierotel

import (
	"context"
	"errors"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/propagation"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	twintier "github.com/twintier/twintier/clients/go"
)

// scope is the name of the instrumentation.
const scope = "github.com/twintier/twintier/clients/go"

// settings holds what options say.
type settings struct {
	meters     metric.MeterProvider
	propagator propagation.TextMapPropagator
	attributes []attribute.KeyValue
}

// Option is a setting of the telemetry.
type Option func(*settings)

// WithMeterProvider sets the provider of meters. The default is the global one.
func WithMeterProvider(provider metric.MeterProvider) Option {
	return func(s *settings) { s.meters = provider }
}

// WithPropagator sets the propagator of trace contexts. The default is W3C's, whatever the global one
// is: it is the one that the service reads.
func WithPropagator(propagator propagation.TextMapPropagator) Option {
	return func(s *settings) { s.propagator = propagator }
}

// WithAttributes sets attributes of all metrics, such as a name of the client.
func WithAttributes(attributes ...attribute.KeyValue) Option {
	return func(s *settings) { s.attributes = attributes }
}

// WithTelemetry is an option of a client. It counts each of the client's counters as
// twintier.client.NAME, such as twintier.client.near_hits, and measures twintier.client.call.duration
// and twintier.client.load.duration in seconds. No attribute has a key or a value of the cache.
func WithTelemetry(options ...Option) (twintier.Option, error) {
	s := &settings{meters: otel.GetMeterProvider(), propagator: propagation.TraceContext{}}
	for _, option := range options {
		option(s)
	}
	instruments, err := newInstruments(s.meters.Meter(scope), s.attributes)
	if err != nil {
		return nil, err
	}
	hooks := twintier.WithHooks(instruments.hooks())
	dial := twintier.WithDialOptions(
		grpc.WithChainUnaryInterceptor(s.unary), grpc.WithChainStreamInterceptor(s.stream))
	return twintier.Options(hooks, dial), nil
}

// instruments of a meter.
type instruments struct {
	common       []attribute.KeyValue
	always       metric.MeasurementOption // common
	counters     []metric.Int64Counter
	callDuration metric.Float64Histogram
	loadDuration metric.Float64Histogram
}

// bounds of histograms, in seconds: calls take less than a millisecond up to some seconds.
var bounds = metric.WithExplicitBucketBoundaries(
	0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10)

func newInstruments(meter metric.Meter, common []attribute.KeyValue) (*instruments, error) {
	i := &instruments{common: common, always: metric.WithAttributes(common...)}
	var failures []error
	for _, m := range twintier.Metrics() {
		counter, err := meter.Int64Counter("twintier.client." + m.String())
		failures = append(failures, err)
		i.counters = append(i.counters, counter)
	}
	var err error
	i.callDuration, err = meter.Float64Histogram("twintier.client.call.duration", metric.WithUnit("s"), bounds,
		metric.WithDescription("Duration of calls of the service."))
	failures = append(failures, err)
	i.loadDuration, err = meter.Float64Histogram("twintier.client.load.duration", metric.WithUnit("s"), bounds,
		metric.WithDescription("Duration of loaders."))
	return i, errors.Join(append(failures, err)...)
}

func (i *instruments) hooks() twintier.Hooks {
	return twintier.Hooks{
		Counted: func(ctx context.Context, m twintier.Metric, n int) { i.counters[m].Add(ctx, int64(n), i.always) },
		CallEnded: func(ctx context.Context, method string, duration time.Duration, err error) {
			i.callDuration.Record(ctx, duration.Seconds(), i.attributes(err, attribute.String("rpc.method", method)))
		},
		LoadEnded: func(ctx context.Context, background bool, duration time.Duration, err error) {
			i.loadDuration.Record(ctx, duration.Seconds(), i.attributes(err, attribute.Bool("background", background)))
		},
	}
}

// attributes returns an attribute and those of all metrics, and error.type if there is an error.
func (i *instruments) attributes(err error, known attribute.KeyValue) metric.MeasurementOption {
	all := append(i.common[:len(i.common):len(i.common)], known)
	if err != nil {
		all = append(all, attribute.String("error.type", errorType(err)))
	}
	return metric.WithAttributes(all...)
}

// errorType returns the code of a call's error, and a fixed text for all others.
func errorType(err error) string {
	var failure *twintier.Error
	switch {
	case errors.As(err, &failure):
		return failure.Code.String()
	case errors.Is(err, context.Canceled):
		return "cancelled"
	default:
		return "_OTHER"
	}
}

func (s *settings) unary(
	ctx context.Context, method string, request, reply any, conn *grpc.ClientConn, invoke grpc.UnaryInvoker, options ...grpc.CallOption,
) error {
	return invoke(s.inject(ctx), method, request, reply, conn, options...)
}

func (s *settings) stream(
	ctx context.Context, desc *grpc.StreamDesc, conn *grpc.ClientConn, method string, open grpc.Streamer, options ...grpc.CallOption,
) (grpc.ClientStream, error) {
	return open(s.inject(ctx), desc, conn, method, options...)
}

// inject puts the trace context into the metadata of a call.
func (s *settings) inject(ctx context.Context) context.Context {
	carrier := propagation.MapCarrier{}
	s.propagator.Inject(ctx, carrier)
	pairs := make([]string, 0, 2*len(carrier))
	for name, value := range carrier {
		pairs = append(pairs, name, value)
	}
	if len(pairs) == 0 {
		return ctx
	}
	return metadata.AppendToOutgoingContext(ctx, pairs...)
}
