package dev.twintier.client;

import dev.twintier.client.Hooks.Event;
import dev.twintier.client.Hooks.ReadResult;
import java.time.Duration;
import java.util.EnumMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.atomic.LongAdder;
import java.util.function.Consumer;

/** Counters of a client. Passes everything on to the hooks. */
final class Counters {
    private static final System.Logger LOG = System.getLogger(Counters.class.getName());

    private final Map<ReadResult, LongAdder> reads = adders(ReadResult.class);
    private final Map<Event, LongAdder> events = adders(Event.class);
    private final LongAdder loads = new LongAdder();
    private final LongAdder loadFailures = new LongAdder();
    private final LongAdder failures = new LongAdder();
    private final List<Hooks> hooks;

    Counters(List<Hooks> hooks) {
        this.hooks = List.copyOf(hooks);
    }

    private static <E extends Enum<E>> Map<E, LongAdder> adders(Class<E> type) {
        Map<E, LongAdder> adders = new EnumMap<>(type);
        for (E constant : type.getEnumConstants()) {
            adders.put(constant, new LongAdder());
        }
        return adders;
    }

    void read(ReadResult result) {
        reads.get(result).increment();
        report(hook -> hook.onRead(result));
    }

    void event(Event event) {
        events.get(event).increment();
        report(hook -> hook.onEvent(event));
    }

    void load(long startedAt, boolean background, Throwable failure) {
        loads.increment();
        if (failure != null) {
            loadFailures.increment();
        }
        report(hook -> hook.onLoad(Duration.ofNanos(System.nanoTime() - startedAt), background, failure));
    }

    void call(String method, long startedAt, TwintierException failure) {
        if (failure != null) {
            failures.increment();
        }
        report(hook -> hook.onCall(method, Duration.ofNanos(System.nanoTime() - startedAt), failure));
    }

    private void report(Consumer<Hooks> report) {
        for (Hooks hook : hooks) {
            try {
                report.accept(hook);
            } catch (RuntimeException failure) {
                LOG.log(System.Logger.Level.WARNING, "twintier: a hook failed", failure);
            }
        }
    }

    private long sum(ReadResult... results) {
        long sum = 0;
        for (ReadResult result : results) {
            sum += reads.get(result).sum();
        }
        return sum;
    }

    private long sum(Event event) {
        return events.get(event).sum();
    }

    ClientStats snapshot() {
        return new ClientStats(sum(ReadResult.HIT, ReadResult.NEAR_HIT, ReadResult.STALE_HIT),
                sum(ReadResult.NEAR_HIT), sum(ReadResult.NEGATIVE_HIT), sum(ReadResult.MISS),
                sum(ReadResult.STALE_HIT), loads.sum(), loadFailures.sum(), sum(Event.REFRESH),
                sum(Event.SHARED), failures.sum(), sum(Event.BREAKER_OPENED), sum(Event.BREAKER_SKIPPED),
                sum(Event.NOT_STORED), sum(Event.UNREADABLE), sum(Event.LATER_DROPPED));
    }
}
