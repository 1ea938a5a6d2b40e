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

// WithTelemetry is an option of a client. It counts each of the client's counters as
// twintier.client.NAME, such as twintier.client.near_hits, and measures twintier.client.call.duration
// and twintier.client.load.duration in seconds. No attribute has a key or a value of the cache.
func WithTelemetry(options ...Option) (twintier.Option, error) {
	s := &settings{meters: otel.GetMeterProvider(), propagator: propagation.TraceContext{}}
	for _, option := range options {
		option(s)
	}
	instruments, err := newInstruments(s.meters.Meter(scope))
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
	counters     []metric.Int64Counter
	callDuration metric.Float64Histogram
	loadDuration metric.Float64Histogram
}

func newInstruments(meter metric.Meter) (*instruments, error) {
	i := &instruments{}
	var failures []error
	for _, m := range twintier.Metrics() {
		counter, err := meter.Int64Counter("twintier.client." + m.String())
		failures = append(failures, err)
		i.counters = append(i.counters, counter)
	}
	var err error
	i.callDuration, err = meter.Float64Histogram("twintier.client.call.duration", metric.WithUnit("s"),
		metric.WithDescription("Duration of calls of the service."))
	failures = append(failures, err)
	i.loadDuration, err = meter.Float64Histogram("twintier.client.load.duration", metric.WithUnit("s"),
		metric.WithDescription("Duration of loaders."))
	return i, errors.Join(append(failures, err)...)
}

func (i *instruments) hooks() twintier.Hooks {
	return twintier.Hooks{
		Counted: func(ctx context.Context, m twintier.Metric, n int) { i.counters[m].Add(ctx, int64(n)) },
		CallEnded: func(ctx context.Context, operation string, duration time.Duration, err error) {
			i.callDuration.Record(ctx, duration.Seconds(), attributes(err, attribute.String("operation", operation)))
		},
		LoadEnded: func(ctx context.Context, background bool, duration time.Duration, err error) {
			i.loadDuration.Record(ctx, duration.Seconds(), attributes(err, attribute.Bool("background", background)))
		},
	}
}

// attributes adds error.type to an attribute, if there is an error.
func attributes(err error, known attribute.KeyValue) metric.MeasurementOption {
	if err == nil {
		return metric.WithAttributes(known)
	}
	return metric.WithAttributes(known, attribute.String("error.type", errorType(err)))
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
