package dev.twintier.client;

import dev.twintier.client.Hooks.Event;
import java.time.Duration;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ConcurrentMap;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.Function;

/** Loads that run now. Concurrent callers for one key share one. */
final class Flights {
    private final ConcurrentMap<Key, Flight<?>> flights = new ConcurrentHashMap<>();
    private final Counters counters;

    Flights(Counters counters) {
        this.counters = counters;
    }

    /** Identity of a load: callers that may get the same answer. */
    record Key(Scope scope, Codec<?> codec, String namespace, String key, boolean strict, boolean staleIfError,
            Consistency consistency, Duration maxStaleness) {
        static Key of(Scope scope, Codec<?> codec, String key, EntryOptions options) {
            return new Key(scope, codec, options.namespace(), key, options.strict(), options.staleIfError(),
                    options.consistency(), options.maxStaleness());
        }
    }

    /** One load. */
    static final class Flight<V> {
        private final CompletableFuture<Lookup<V>> result = new CompletableFuture<>();
        private final AtomicInteger shared = new AtomicInteger();
        private volatile Thread loading;

        CompletableFuture<Lookup<V>> result() {
            return result;
        }

        boolean isShared() {
            return shared.get() > 0;
        }

        /** Notes the thread that runs the loader. */
        void loadingIn(Thread thread) {
            loading = thread;
        }
    }

    /** Joins the load of a key, or starts one. */
    @SuppressWarnings("unchecked")
    <V> Flight<V> join(Key key, Function<Flight<V>, CompletableFuture<Lookup<V>>> start) {
        Flight<V> mine = new Flight<>();
        Flight<V> other = (Flight<V>) flights.putIfAbsent(key, mine);
        if (other != null) {
            if (other.loading == Thread.currentThread()) {
                throw new IllegalStateException("loader of \"" + key.key + "\" asks for the key that it loads");
            }
            other.shared.incrementAndGet();
            counters.event(Event.SHARED);
            return other;
        }
        var unused = start(mine, start).whenComplete((found, failure) -> {
            flights.remove(key, mine);
            if (failure == null) {
                mine.result.complete(found);
            } else {
                mine.result.completeExceptionally(Errors.unwrap(failure));
            }
        });
        return mine;
    }

    private static <V> CompletableFuture<Lookup<V>> start(Flight<V> flight,
            Function<Flight<V>, CompletableFuture<Lookup<V>>> start) {
        try {
            return start.apply(flight);
        } catch (RuntimeException failure) {
            return CompletableFuture.failedFuture(failure);
        }
    }
}
