package dev.twintier.conformance;

import dev.twintier.client.Cache;
import dev.twintier.client.Loader;
import dev.twintier.client.Lookup;
import java.time.Duration;
import java.util.Collection;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;

/** Operations by the asynchronous view. */
final class AsyncCalls implements CacheCalls {
    private final ExecutorService loaders = Executors.newCachedThreadPool(Threads.daemons("loader"));

    @Override
    public CompletableFuture<Lookup<Object>> get(Cache<Object> cache, String key) {
        return cache.async().get(key);
    }

    @Override
    public CompletableFuture<Map<String, Object>> getAll(Cache<Object> cache, Collection<String> keys) {
        return cache.async().getAll(keys);
    }

    @Override
    public CompletableFuture<Boolean> set(Cache<Object> cache, String key, Object value) {
        return cache.async().set(key, value);
    }

    @Override
    public CompletableFuture<Set<String>> setAll(Cache<Object> cache, Map<String, Object> values) {
        return cache.async().setAll(values);
    }

    @Override
    public CompletableFuture<Boolean> setAbsent(Cache<Object> cache, String key) {
        return cache.async().setAbsent(key);
    }

    @Override
    public CompletableFuture<Boolean> touch(Cache<Object> cache, String key, Duration ttl) {
        return cache.async().touch(key, ttl);
    }

    @Override
    public CompletableFuture<Boolean> invalidateKeys(Cache<Object> cache, Collection<String> keys) {
        return cache.async().invalidateKeys(keys);
    }

    @Override
    public CompletableFuture<Boolean> invalidateTags(Cache<Object> cache, String... tags) {
        return cache.async().invalidateTags(tags);
    }

    @Override
    public CompletableFuture<Boolean> invalidatePrefix(Cache<Object> cache, String prefix) {
        return cache.async().invalidatePrefix(prefix);
    }

    @Override
    public CompletableFuture<Boolean> invalidatePattern(Cache<Object> cache, String pattern) {
        return cache.async().invalidatePattern(pattern);
    }

    @Override
    public CompletableFuture<Boolean> invalidateAll(Cache<Object> cache) {
        return cache.async().invalidateAll();
    }

    @Override
    public CompletableFuture<Optional<Object>> getOrSet(Cache<Object> cache, String key,
            Loader<Object, Exception> loader) {
        return cache.async().getOrSet(key, () -> CompletableFuture.supplyAsync(() -> {
            try {
                return loader.load();
            } catch (Exception failure) {
                throw new CompletionException(failure);
            }
        }, loaders));
    }
}
