package dev.twintier.client.opentelemetry;

import dev.twintier.client.Hooks;
import dev.twintier.client.TwintierException;
import io.opentelemetry.api.OpenTelemetry;
import io.opentelemetry.api.common.AttributeKey;
import io.opentelemetry.api.common.Attributes;
import io.opentelemetry.api.common.AttributesBuilder;
import io.opentelemetry.api.metrics.DoubleHistogram;
import io.opentelemetry.api.metrics.LongCounter;
import io.opentelemetry.api.metrics.Meter;
import java.time.Duration;
import java.util.HashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;

/**
 * Metrics of a client by OpenTelemetry. Needs the artifact {@code io.opentelemetry:opentelemetry-api}.
 *
 * <p>The metrics are a counter for each one of {@link dev.twintier.client.ClientStats}, such as
 * {@code twintier.client.near_hits}, and the histograms {@code twintier.client.call.duration} (by
 * {@code rpc.method}) and {@code twintier.client.load.duration} (by {@code background}), in seconds and
 * with {@code error.type} if the call or the load failed.
 */
public final class OpenTelemetryHooks implements Hooks {
    private static final String PREFIX = "twintier.client.";
    private static final List<String> COUNTERS = List.of("hits", "near_hits", "negative_hits", "misses", "stale",
            "loads", "load_failures", "refreshes", "shared", "failures", "breaker_opened", "breaker_skipped",
            "not_stored", "unreadable", "later_dropped");
    private static final AttributeKey<String> METHOD = AttributeKey.stringKey("rpc.method");
    private static final AttributeKey<Boolean> BACKGROUND = AttributeKey.booleanKey("background");
    private static final AttributeKey<String> ERROR_TYPE = AttributeKey.stringKey("error.type");
    private static final double NANOS_PER_SECOND = 1e9;

    private final Map<String, LongCounter> counters = new HashMap<>();
    private final DoubleHistogram loads;
    private final DoubleHistogram calls;

    /**
     * Creates hooks that measure.
     *
     * @param openTelemetry the library's entry
     */
    public OpenTelemetryHooks(OpenTelemetry openTelemetry) {
        Meter meter = openTelemetry.getMeter("dev.twintier.client");
        for (String name : COUNTERS) {
            counters.put(name, meter.counterBuilder(PREFIX + name).build());
        }
        this.loads = meter.histogramBuilder(PREFIX + "load.duration").setUnit("s")
                .setDescription("Duration of loaders").build();
        this.calls = meter.histogramBuilder(PREFIX + "call.duration").setUnit("s")
                .setDescription("Duration of calls of the service").build();
    }

    private void count(String name) {
        counters.get(name).add(1);
    }

    @Override
    public void onRead(ReadResult result) {
        switch (result) {
            case HIT -> count("hits");
            case NEAR_HIT -> {
                count("hits");
                count("near_hits");
            }
            case STALE_HIT -> {
                count("hits");
                count("stale");
            }
            case NEGATIVE_HIT -> count("negative_hits");
            default -> count("misses");
        }
    }

    @Override
    public void onEvent(Event event) {
        count(event == Event.REFRESH ? "refreshes" : text(event));
    }

    @Override
    public void onLoad(Duration time, boolean background, Throwable failure) {
        count("loads");
        AttributesBuilder attributes = Attributes.builder().put(BACKGROUND, background);
        if (failure != null) {
            count("load_failures");
            attributes.put(ERROR_TYPE, failure.getClass().getName());
        }
        loads.record(time.toNanos() / NANOS_PER_SECOND, attributes.build());
    }

    @Override
    public void onCall(String method, Duration time, TwintierException failure) {
        AttributesBuilder attributes = Attributes.builder().put(METHOD, method);
        if (failure != null) {
            count("failures");
            attributes.put(ERROR_TYPE, text(failure.kind()));
        }
        calls.record(time.toNanos() / NANOS_PER_SECOND, attributes.build());
    }

    private static String text(Enum<?> constant) {
        return constant.name().toLowerCase(Locale.ROOT);
    }
}
