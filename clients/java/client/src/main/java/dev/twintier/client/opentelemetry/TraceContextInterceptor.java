package dev.twintier.client.opentelemetry;

import io.grpc.CallOptions;
import io.grpc.Channel;
import io.grpc.ClientCall;
import io.grpc.ClientInterceptor;
import io.grpc.ForwardingClientCall.SimpleForwardingClientCall;
import io.grpc.Metadata;
import io.grpc.MethodDescriptor;
import io.opentelemetry.api.OpenTelemetry;
import io.opentelemetry.context.Context;
import io.opentelemetry.context.propagation.TextMapPropagator;

/**
 * Interceptor that sends the current trace context with each call, so that the service's spans join the
 * caller's trace. Needs the artifact {@code io.opentelemetry:opentelemetry-api}.
 */
public final class TraceContextInterceptor implements ClientInterceptor {
    private final TextMapPropagator propagator;

    /**
     * Creates an interceptor.
     *
     * @param openTelemetry the library's entry
     */
    public TraceContextInterceptor(OpenTelemetry openTelemetry) {
        this.propagator = openTelemetry.getPropagators().getTextMapPropagator();
    }

    @Override
    public <Q, A> ClientCall<Q, A> interceptCall(MethodDescriptor<Q, A> method, CallOptions options,
            Channel next) {
        Context context = Context.current();
        return new SimpleForwardingClientCall<>(next.newCall(method, options)) {
            @Override
            public void start(Listener<A> listener, Metadata headers) {
                propagator.inject(context, headers, TraceContextInterceptor::put);
                super.start(listener, headers);
            }
        };
    }

    private static void put(Metadata headers, String name, String value) {
        if (headers != null) {
            headers.put(Metadata.Key.of(name, Metadata.ASCII_STRING_MARSHALLER), value);
        }
    }
}
