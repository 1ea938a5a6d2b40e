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

/** Operations of a cache, by its synchronous or its asynchronous view. */
interface CacheCalls {
    CompletableFuture<Lookup<Object>> get(Cache<Object> cache, String key);

    CompletableFuture<Map<String, Object>> getAll(Cache<Object> cache, Collection<String> keys);

    CompletableFuture<Boolean> set(Cache<Object> cache, String key, Object value);

    CompletableFuture<Set<String>> setAll(Cache<Object> cache, Map<String, Object> values);

    CompletableFuture<Boolean> setAbsent(Cache<Object> cache, String key);

    CompletableFuture<Boolean> touch(Cache<Object> cache, String key, Duration ttl);

    CompletableFuture<Boolean> invalidateKeys(Cache<Object> cache, Collection<String> keys);

    CompletableFuture<Boolean> invalidateTags(Cache<Object> cache, String... tags);

    CompletableFuture<Boolean> invalidatePrefix(Cache<Object> cache, String prefix);

    CompletableFuture<Boolean> invalidatePattern(Cache<Object> cache, String pattern);

    CompletableFuture<Boolean> invalidateAll(Cache<Object> cache);

    CompletableFuture<Optional<Object>> getOrSet(Cache<Object> cache, String key, Loader<Object, Exception> loader);
}
