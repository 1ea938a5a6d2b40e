package dev.twintier.client;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.twintier.client.opentelemetry.OpenTelemetryHooks;
import dev.twintier.client.opentelemetry.TraceContextInterceptor;
import dev.twintier.v1.CacheServiceGrpc;
import dev.twintier.v1.GetRequest;
import dev.twintier.v1.GetResponse;
import dev.twintier.v1.Miss;
import io.grpc.Grpc;
import io.grpc.InsecureServerCredentials;
import io.grpc.Metadata;
import io.grpc.Server;
import io.grpc.ServerCall;
import io.grpc.ServerCallHandler;
import io.grpc.ServerInterceptor;
import io.grpc.Status;
import io.grpc.stub.StreamObserver;
import io.opentelemetry.api.trace.Span;
import io.opentelemetry.context.Scope;
import io.opentelemetry.sdk.testing.junit5.OpenTelemetryExtension;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.extension.RegisterExtension;
import org.junit.jupiter.api.io.TempDir;

/** What goes over the wire, as a service in this process sees it. */
@Timeout(120)
class FakeServiceTest {
    @RegisterExtension
    static final OpenTelemetryExtension OPEN_TELEMETRY = OpenTelemetryExtension.create();

    private static final Metadata.Key<String> AUTHORIZATION = key("authorization");
    private static final Metadata.Key<String> TRACEPARENT = key("traceparent");

    private final List<Metadata> received = new CopyOnWriteArrayList<>();
    private final AtomicInteger failures = new AtomicInteger();
    private Server server;

    private static Metadata.Key<String> key(String name) {
        return Metadata.Key.of(name, Metadata.ASCII_STRING_MARSHALLER);
    }

    @BeforeEach
    void start() throws Exception {
        server = Grpc.newServerBuilderForPort(0, InsecureServerCredentials.create())
                .addService(new CacheServiceGrpc.CacheServiceImplBase() {
                    @Override
                    public void get(GetRequest request, StreamObserver<GetResponse> answer) {
                        if (failures.getAndDecrement() > 0) {
                            answer.onError(Status.UNAVAILABLE.asRuntimeException());
                            return;
                        }
                        answer.onNext(GetResponse.newBuilder().setMiss(Miss.getDefaultInstance()).build());
                        answer.onCompleted();
                    }
                })
                .intercept(new ServerInterceptor() {
                    @Override
                    public <Q, A> ServerCall.Listener<Q> interceptCall(ServerCall<Q, A> call, Metadata headers,
                            ServerCallHandler<Q, A> next) {
                        received.add(headers);
                        return next.startCall(call, headers);
                    }
                }).build().start();
    }

    @AfterEach
    void stop() {
        server.shutdownNow();
    }

    private TwintierClientBuilder builder() {
        return TwintierClient.builder("localhost:" + server.getPort()).timeout(Duration.ofSeconds(30)).strict(true);
    }

    private Metadata last() {
        return received.get(received.size() - 1);
    }

    @Test
    void tokenIsReadAnewFromItsFile(@TempDir Path folder) throws Exception {
        Path file = folder.resolve("token");
        Files.writeString(file, "first\n");
        try (TwintierClient client = builder().tokenFile(file).build()) {
            client.cache(String.class).get("k");
            assertEquals("Bearer first", last().get(AUTHORIZATION));
            Files.writeString(file, "second\n");
            long end = System.nanoTime() + Duration.ofSeconds(60).toNanos();
            while (!"Bearer second".equals(last().get(AUTHORIZATION)) && System.nanoTime() < end) {
                client.cache(String.class).get("k");
                Thread.sleep(50);
            }
            assertEquals("Bearer second", last().get(AUTHORIZATION));
        }
    }

    @Test
    void traceContextTravelsAndMetricsAreReported() {
        try (TwintierClient client = builder().hooks(new OpenTelemetryHooks(OPEN_TELEMETRY.getOpenTelemetry()))
                .interceptor(new TraceContextInterceptor(OPEN_TELEMETRY.getOpenTelemetry())).build()) {
            Span span = OPEN_TELEMETRY.getOpenTelemetry().getTracer("test").spanBuilder("caller").startSpan();
            Scope scope = span.makeCurrent();
            try {
                client.cache(String.class).get("k");
            } finally {
                scope.close();
                span.end();
            }
            assertTrue(last().get(TRACEPARENT).contains(span.getSpanContext().getTraceId()));
            List<String> names = OPEN_TELEMETRY.getMetrics().stream().map(metric -> metric.getName()).toList();
            assertTrue(names.containsAll(List.of("twintier.client.misses", "twintier.client.call.duration")),
                    names.toString());
        }
    }

    @Test
    void unavailableIsRepeatedAndCountsOnceAtMost() {
        failures.set(2);
        try (TwintierClient client = builder().build()) {
            assertTrue(client.cache(String.class).get("k").isMiss());
            assertEquals(3, received.size());
            assertEquals(0, client.stats().failures());
        }
    }
}
