package dev.twintier.bench;

import dev.twintier.client.Cache;
import dev.twintier.client.NearCacheOptions;
import dev.twintier.client.TwintierClient;
import dev.twintier.testing.Replica;
import dev.twintier.v1.CacheServiceGrpc;
import dev.twintier.v1.CacheServiceGrpc.CacheServiceBlockingStub;
import dev.twintier.v1.GetRequest;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import java.lang.management.ManagementFactory;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** Comparison of the client with the bare stub, by the CPU time of this process. */
public final class Bench {
    private static final String KEY = "user:42";
    private static final String VALUE = "a value of a typical size, in the order of some dozens of bytes";
    private static final int WARM_UP_ROUNDS = 3;
    private static final int ROUNDS = 7;
    private static final int CALLS = 1_500;
    private static final int NEAR_FACTOR = 100;

    private final Map<String, List<Double>> micros = new LinkedHashMap<>();

    private Bench() {
    }

    /**
     * Runs the comparison.
     *
     * @param arguments {@code --check} to fail when a ratio is beyond its bound
     * @throws Exception if a replica cannot be started
     */
    public static void main(String[] arguments) throws Exception {
        boolean check = arguments.length > 0 && arguments[0].equals("--check");
        boolean good;
        try (Replica replica = Replica.start()) {
            good = new Bench().run(replica.address());
        }
        System.exit(check && !good ? 1 : 0);
    }

    private boolean run(String address) throws InterruptedException {
        ManagedChannel channel = Grpc.newChannelBuilder(address, InsecureChannelCredentials.create()).build();
        try (TwintierClient client = TwintierClient.builder(address).timeout(Duration.ofSeconds(30)).build();
                TwintierClient near = TwintierClient.builder(address).timeout(Duration.ofSeconds(30))
                        .nearCache(new NearCacheOptions(1 << 20, Duration.ofMinutes(10))).build()) {
            Cache<String> cache = client.cache(String.class);
            Cache<String> nearCache = near.cache(String.class);
            cache.set(KEY, VALUE);
            fillNear(near, nearCache);
            CacheServiceBlockingStub stub = CacheServiceGrpc.newBlockingStub(channel);
            GetRequest request = GetRequest.newBuilder().setKey(KEY).build();
            for (int round = -WARM_UP_ROUNDS; round < ROUNDS; round++) {
                boolean counts = round >= 0;
                measure("bare stub", counts, CALLS, () ->
                        stub.withDeadlineAfter(Duration.ofSeconds(30)).get(request).hasHit());
                measure("get", counts, CALLS, () -> cache.get(KEY).isHit());
                measure("getOrSet, hit", counts, CALLS, () -> cache.getOrSet(KEY, () -> "loaded").isPresent());
                measure("get, near cache", counts, CALLS * NEAR_FACTOR, () -> nearCache.get(KEY).isHit());
            }
        } finally {
            channel.shutdownNow();
        }
        return report();
    }

    private static void fillNear(TwintierClient client, Cache<String> cache) throws InterruptedException {
        while (client.stats().nearHits() == 0) {
            cache.get(KEY);
            Thread.sleep(10);
        }
    }

    /** Operation that returns true if it found the value. */
    private interface Operation {
        boolean run();
    }

    private void measure(String name, boolean counts, int calls, Operation operation) {
        long before = cpuNanos();
        for (int call = 0; call < calls; call++) {
            if (!operation.run()) {
                throw new IllegalStateException(name + ": the value was not found");
            }
        }
        if (counts) {
            micros.computeIfAbsent(name, missing -> new ArrayList<>())
                    .add((cpuNanos() - before) / 1e3 / calls);
        }
    }

    private static long cpuNanos() {
        return ((com.sun.management.OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean())
                .getProcessCpuTime();
    }

    private double median(String name) {
        List<Double> sorted = new ArrayList<>(micros.get(name));
        Collections.sort(sorted);
        return sorted.get(sorted.size() / 2);
    }

    private boolean report() {
        double bare = median("bare stub");
        System.out.printf("%-20s %12s %14s %10s%n", "operation", "CPU µs/call", "of bare stub", "bound");
        System.out.printf("%-20s %12.2f %14s %10s%n", "bare stub", bare, "1.00", "");
        boolean good = row("get", bare, 1.3);
        good &= row("getOrSet, hit", bare, 1.5);
        return row("get, near cache", bare, 1.0 / 50) && good;
    }

    private boolean row(String name, double bare, double bound) {
        double ratio = median(name) / bare;
        System.out.printf("%-20s %12.2f %14.3f %10s%s%n", name, median(name), ratio, "<= %.2f".formatted(bound),
                ratio <= bound ? "" : "  BEYOND");
        return ratio <= bound;
    }
}
