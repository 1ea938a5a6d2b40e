package dev.twintier.conformance;

import dev.twintier.client.Cache;
import dev.twintier.client.Loader;
import dev.twintier.client.Lookup;
import java.time.Duration;
import java.util.Collection;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.Callable;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Future;

/** Operations by the synchronous view, each in a thread that a cancellation interrupts. */
final class BlockingCalls implements CacheCalls {
    private final ExecutorService tasks;

    BlockingCalls(ExecutorService tasks) {
        this.tasks = tasks;
    }

    private <T> CompletableFuture<T> inThread(Callable<T> call) {
        Interruptible<T> result = new Interruptible<>();
        result.thread = tasks.submit(() -> {
            try {
                result.complete(call.call());
            } catch (Exception | Error failure) {
                result.completeExceptionally(failure);
            }
        });
        return result;
    }

    /** Future whose cancellation interrupts its thread. */
    private static final class Interruptible<T> extends CompletableFuture<T> {
        private volatile Future<?> thread;

        @Override
        public boolean cancel(boolean mayInterrupt) {
            return thread.cancel(true);
        }
    }

    @Override
    public CompletableFuture<Lookup<Object>> get(Cache<Object> cache, String key) {
        return inThread(() -> cache.get(key));
    }

    @Override
    public CompletableFuture<Map<String, Object>> getAll(Cache<Object> cache, Collection<String> keys) {
        return inThread(() -> cache.getAll(keys));
    }

    @Override
    public CompletableFuture<Boolean> set(Cache<Object> cache, String key, Object value) {
        return inThread(() -> cache.set(key, value));
    }

    @Override
    public CompletableFuture<Set<String>> setAll(Cache<Object> cache, Map<String, Object> values) {
        return inThread(() -> cache.setAll(values));
    }

    @Override
    public CompletableFuture<Boolean> setAbsent(Cache<Object> cache, String key) {
        return inThread(() -> cache.setAbsent(key));
    }

    @Override
    public CompletableFuture<Boolean> touch(Cache<Object> cache, String key, Duration ttl) {
        return inThread(() -> cache.touch(key, ttl));
    }

    @Override
    public CompletableFuture<Boolean> invalidateKeys(Cache<Object> cache, Collection<String> keys) {
        return inThread(() -> cache.invalidateKeys(keys));
    }

    @Override
    public CompletableFuture<Boolean> invalidateTags(Cache<Object> cache, String... tags) {
        return inThread(() -> cache.invalidateTags(tags));
    }

    @Override
    public CompletableFuture<Boolean> invalidatePrefix(Cache<Object> cache, String prefix) {
        return inThread(() -> cache.invalidatePrefix(prefix));
    }

    @Override
    public CompletableFuture<Boolean> invalidatePattern(Cache<Object> cache, String pattern) {
        return inThread(() -> cache.invalidatePattern(pattern));
    }

    @Override
    public CompletableFuture<Boolean> invalidateAll(Cache<Object> cache) {
        return inThread(() -> cache.invalidateAll());
    }

    @Override
    public CompletableFuture<Optional<Object>> getOrSet(Cache<Object> cache, String key,
            Loader<Object, Exception> loader) {
        return inThread(() -> cache.getOrSet(key, loader));
    }
}
