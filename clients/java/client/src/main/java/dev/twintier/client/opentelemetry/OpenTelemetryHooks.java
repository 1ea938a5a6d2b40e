package dev.twintier.client.opentelemetry;

import dev.twintier.client.Hooks;
import dev.twintier.client.TwintierException;
import io.opentelemetry.api.OpenTelemetry;
import io.opentelemetry.api.common.AttributeKey;
import io.opentelemetry.api.common.Attributes;
import io.opentelemetry.api.metrics.DoubleHistogram;
import io.opentelemetry.api.metrics.LongCounter;
import io.opentelemetry.api.metrics.Meter;
import java.time.Duration;
import java.util.Locale;

/**
 * Metrics of a client by OpenTelemetry. Needs the artifact {@code io.opentelemetry:opentelemetry-api}.
 *
 * <p>The metrics are {@code twintier.client.gets} by {@code outcome}, {@code twintier.client.events} by
 * {@code event}, {@code twintier.client.load.duration} and {@code twintier.client.call.duration} (by
 * {@code method}), both in seconds and with {@code error.type} if they failed.
 */
public final class OpenTelemetryHooks implements Hooks {
    private static final AttributeKey<String> OUTCOME = AttributeKey.stringKey("outcome");
    private static final AttributeKey<String> EVENT = AttributeKey.stringKey("event");
    private static final AttributeKey<String> METHOD = AttributeKey.stringKey("method");
    private static final AttributeKey<String> ERROR_TYPE = AttributeKey.stringKey("error.type");
    private static final double NANOS_PER_SECOND = 1e9;

    private final LongCounter gets;
    private final LongCounter events;
    private final DoubleHistogram loads;
    private final DoubleHistogram calls;

    /**
     * Creates hooks that measure.
     *
     * @param openTelemetry the library's entry
     */
    public OpenTelemetryHooks(OpenTelemetry openTelemetry) {
        Meter meter = openTelemetry.getMeter("dev.twintier.client");
        this.gets = meter.counterBuilder("twintier.client.gets").setDescription("Reads by outcome").build();
        this.events = meter.counterBuilder("twintier.client.events").setDescription("Events by kind").build();
        this.loads = meter.histogramBuilder("twintier.client.load.duration").setUnit("s")
                .setDescription("Duration of loaders").build();
        this.calls = meter.histogramBuilder("twintier.client.call.duration").setUnit("s")
                .setDescription("Duration of calls of the service").build();
    }

    @Override
    public void onRead(ReadResult result) {
        gets.add(1, Attributes.of(OUTCOME, text(result)));
    }

    @Override
    public void onEvent(Event event) {
        events.add(1, Attributes.of(EVENT, text(event)));
    }

    @Override
    public void onLoad(Duration time, Throwable failure) {
        loads.record(time.toNanos() / NANOS_PER_SECOND, failure == null ? Attributes.empty()
                : Attributes.of(ERROR_TYPE, failure.getClass().getName()));
    }

    @Override
    public void onCall(String method, Duration time, TwintierException failure) {
        calls.record(time.toNanos() / NANOS_PER_SECOND, failure == null ? Attributes.of(METHOD, method)
                : Attributes.of(METHOD, method, ERROR_TYPE, text(failure.kind())));
    }

    private static String text(Enum<?> constant) {
        return constant.name().toLowerCase(Locale.ROOT);
    }
}
