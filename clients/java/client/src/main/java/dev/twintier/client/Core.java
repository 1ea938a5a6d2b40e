package dev.twintier.client;

import dev.twintier.client.Hooks.Event;
import dev.twintier.client.Hooks.ReadResult;
import dev.twintier.v1.GetResponse;
import dev.twintier.v1.Hit;
import io.grpc.ManagedChannel;
import java.lang.reflect.Type;
import java.time.Duration;
import java.util.concurrent.Executor;
import java.util.concurrent.Executors;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.Semaphore;
import java.util.concurrent.TimeUnit;

/** Parts of a client. */
final class Core {
    private static final Duration CLOSE_LIMIT = Duration.ofSeconds(2);

    final EntryOptions defaults;
    final Executor executor;
    final Counters counters;
    final Calls calls;
    final Reads reads;
    final Writes writes;
    final Invalidations invalidations;
    final Flights flights;
    final LaterQueue later;
    /** Refreshes that may run at the same time. */
    final Semaphore refreshes;

    private final Serializer serializer;
    private final ManagedChannel channel;
    private final NearCache near;
    private final ScheduledExecutorService scheduler;

    Core(TwintierClientBuilder settings) {
        this.defaults = settings.defaults;
        this.executor = settings.executor;
        this.serializer = settings.serializer;
        this.counters = new Counters(settings.hooks);
        this.refreshes = new Semaphore(settings.maxRefreshes);
        this.channel = Channels.open(settings);
        channel.getState(true);
        this.calls = new Calls(channel, new Breaker(System::nanoTime), counters);
        this.scheduler = settings.nearCache == null ? null : Executors.newSingleThreadScheduledExecutor(task -> {
            Thread thread = new Thread(task, "twintier-watch");
            thread.setDaemon(true);
            return thread;
        });
        this.near = settings.nearCache == null ? null : nearCache(settings.nearCache);
        this.reads = new Reads(calls, near);
        this.writes = new Writes(calls, counters, near);
        this.invalidations = new Invalidations(calls, counters, near);
        this.flights = new Flights(counters);
        this.later = new LaterQueue(settings.laterQueue, executor, counters);
    }

    private NearCache nearCache(NearCacheOptions options) {
        return new NearCache(options, (name, namespace) -> {
            Watcher watch = new Watcher(channel, scheduler, name, namespace, options.maxStaleness());
            watch.start();
            return watch;
        });
    }

    <V> CacheView<V> cache(Scope scope, Type type) {
        return new CacheView<>(this, scope, new Codec<>(serializer, type), defaults);
    }

    /** Returns the value of an answer. One that cannot be read is a miss, and counted. */
    <V> Lookup<V> decode(Codec<V> codec, GetResponse answer) {
        return switch (answer.getResultCase()) {
            case HIT -> decode(codec, answer.getHit(), false);
            case NEGATIVE_HIT -> Lookup.absent();
            default -> Lookup.miss();
        };
    }

    <V> Lookup<V> decode(Codec<V> codec, Hit hit, boolean stale) {
        try {
            return Lookup.hit(codec.decode(hit), stale || hit.getEntry().hasStale());
        } catch (TwintierException unreadable) {
            counters.event(Event.UNREADABLE);
            return Lookup.miss();
        }
    }

    void countRead(Lookup<?> found, boolean near) {
        if (found.isMiss()) {
            counters.read(ReadResult.MISS);
        } else if (found.isAbsent()) {
            counters.read(ReadResult.NEGATIVE_HIT);
        } else if (found.isStale()) {
            counters.read(ReadResult.STALE_HIT);
        } else {
            counters.read(near ? ReadResult.NEAR_HIT : ReadResult.HIT);
        }
    }

    /** Ends everything. Returns false if background writes were lost. */
    boolean close(Duration drain) {
        boolean drained = false;
        try {
            drained = later.close(drain);
            calls.close();
            if (near != null) {
                near.close();
                scheduler.shutdownNow();
            }
            channel.shutdown();
            if (!channel.awaitTermination(CLOSE_LIMIT.toMillis(), TimeUnit.MILLISECONDS)) {
                channel.shutdownNow();
            }
        } catch (InterruptedException interrupted) {
            channel.shutdownNow();
            Thread.currentThread().interrupt();
        }
        return drained;
    }
}
