package dev.twintier.conformance;

import com.fasterxml.jackson.databind.JsonNode;
import dev.twintier.conformance.ErrorKinds.LoaderException;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ConcurrentMap;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicLong;

/** Loaders and gates of the suite. Loaders of one name share their counts. */
final class Loaders {
    private final ConcurrentMap<String, Counts> counts = new ConcurrentHashMap<>();
    private final ConcurrentMap<String, CountDownLatch> gates = new ConcurrentHashMap<>();

    /** Runs of a loader. */
    static final class Counts {
        final AtomicLong started = new AtomicLong();
        final AtomicLong ended = new AtomicLong();
    }

    Counts counts(String name) {
        return counts.computeIfAbsent(name, missing -> new Counts());
    }

    private CountDownLatch gate(String name) {
        return gates.computeIfAbsent(name, missing -> new CountDownLatch(1));
    }

    void open(String gate) {
        gate(gate).countDown();
    }

    /** Runs a loader, and returns its value or null. */
    Object run(JsonNode loader, String serializer) throws LoaderException, InterruptedException {
        Counts counted = counts(loader.get("name").asText());
        counted.started.incrementAndGet();
        try {
            if (loader.has("gate")) {
                gate(loader.get("gate").asText()).await();
            }
            if (loader.has("delay")) {
                Thread.sleep(Durations.parse(loader.get("delay").asText()).toMillis());
            }
            if (loader.has("error")) {
                throw new LoaderException(loader.get("error").asText());
            }
            return loader.path("absent").asBoolean() ? null : Values.fromSuite(loader.get("value"), serializer);
        } finally {
            counted.ended.incrementAndGet();
        }
    }
}
