package dev.twintier.client;

import dev.twintier.client.Codec.Payload;
import dev.twintier.client.Flights.Flight;
import dev.twintier.v1.BatchGetItem;
import dev.twintier.v1.GetResponse;
import java.time.Duration;
import java.util.Collection;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionStage;
import java.util.function.Function;
import java.util.function.Supplier;

/** Asynchronous view, and the parts that both views share. */
final class AsyncCacheView<V> implements AsyncCache<V> {
    private final Core core;
    private final Scope scope;
    private final Codec<V> codec;
    private final EntryOptions options;

    AsyncCacheView(Core core, Scope scope, Codec<V> codec, EntryOptions options) {
        this.core = core;
        this.scope = scope;
        this.codec = codec;
        this.options = options;
    }

    @Override
    public AsyncCache<V> with(EntryOptions changes) {
        return new AsyncCacheView<>(core, scope, codec, changes.over(options));
    }

    @Override
    public Cache<V> synchronous() {
        return new CacheView<>(core, scope, codec, options);
    }

    /** Reads a key from the service. A failure is a miss unless the options are strict. */
    CompletableFuture<GetResponse> read(String key) {
        return core.reads.get(scope, key, options).exceptionally(failure -> {
            Writes.openUnlessStrict(failure, options);
            return GetResponse.getDefaultInstance();
        });
    }

    /** Decodes and counts an answer. */
    Lookup<V> found(GetResponse answer, boolean near) {
        Lookup<V> found = core.decode(codec, answer);
        core.countRead(found, near);
        return found;
    }

    CompletableFuture<Map<String, BatchGetItem>> readAll(Collection<String> keys) {
        if (keys.isEmpty()) {
            return CompletableFuture.completedFuture(Map.of());
        }
        return core.reads.getAll(scope, keys, options).exceptionally(failure -> {
            Writes.openUnlessStrict(failure, options);
            keys.forEach(key -> core.countRead(Lookup.miss(), false));
            return Map.of();
        });
    }

    /** Decodes and counts the answers. */
    Map<String, V> values(Map<String, BatchGetItem> items) {
        Map<String, V> values = new LinkedHashMap<>();
        items.forEach((key, item) -> {
            if (options.strict() && item.hasError()) {
                throw BatchReads.error(item.getError());
            }
            GetResponse.Builder answer = GetResponse.newBuilder();
            if (item.hasHit()) {
                answer.setHit(item.getHit());
            } else if (item.hasNegativeHit()) {
                answer.setNegativeHit(item.getNegativeHit());
            }
            found(answer.build(), false).toOptional().ifPresent(value -> values.put(key, value));
        });
        return values;
    }

    CompletableFuture<Boolean> write(String key, Payload payload, Fence fence) {
        return core.writes.set(scope, key, payload, options, fence);
    }

    CompletableFuture<Set<String>> writeAll(Map<String, V> values) {
        Map<String, Payload> payloads = new LinkedHashMap<>();
        values.forEach((key, value) -> payloads.put(key, codec.encode(value)));
        return core.writes.setAll(scope, payloads, options);
    }

    /** Lets a future complete on the client's executor. A caller may cancel it. */
    private <T, R> CompletableFuture<R> onExecutor(CompletableFuture<T> future, Function<T, R> function) {
        return future.thenApplyAsync(function, core.executor);
    }

    private <T> CompletableFuture<T> onExecutor(CompletableFuture<T> future) {
        return onExecutor(future, Function.identity());
    }

    @Override
    public CompletableFuture<Optional<V>> getOrSet(String key,
            Supplier<? extends CompletionStage<? extends V>> loader) {
        GetResponse near = core.reads.near(scope, key, options);
        Lookup<V> known = near == null ? Lookup.miss() : found(near, true);
        if (!known.isMiss()) {
            return CompletableFuture.completedFuture(known.toOptional());
        }
        Flight<V> flight = core.flights.join(Flights.Key.of(scope, codec, key, options), started ->
                new Fill<>(core, scope, codec, key, options, core.executor, loader).start());
        return onExecutor(flight.result(), Lookup::toOptional);
    }

    @Override
    public CompletableFuture<Lookup<V>> get(String key) {
        GetResponse near = core.reads.near(scope, key, options);
        return near != null ? CompletableFuture.completedFuture(found(near, true))
                : onExecutor(read(key), answer -> found(answer, false));
    }

    @Override
    public CompletableFuture<Map<String, V>> getAll(Collection<String> keys) {
        return onExecutor(readAll(keys), this::values);
    }

    @Override
    public CompletableFuture<Boolean> set(String key, V value) {
        return onExecutor(write(key, codec.encode(value), Fence.ALWAYS));
    }

    @Override
    public CompletableFuture<Boolean> setIfAbsent(String key, V value) {
        return onExecutor(write(key, codec.encode(value), Fence.IF_ABSENT));
    }

    @Override
    public CompletableFuture<Set<String>> setAll(Map<String, V> values) {
        return onExecutor(writeAll(values));
    }

    @Override
    public CompletableFuture<Boolean> setAbsent(String key) {
        return onExecutor(write(key, null, Fence.ALWAYS));
    }

    @Override
    public CompletableFuture<Boolean> touch(String key, Duration ttl) {
        return onExecutor(core.writes.touch(scope, key, ttl, options));
    }

    @Override
    public CompletableFuture<Boolean> invalidateKeys(Collection<String> keys) {
        return onExecutor(core.invalidations.keys(scope, keys, options));
    }

    @Override
    public CompletableFuture<Boolean> invalidateTags(String... tags) {
        return onExecutor(core.invalidations.tags(scope, List.of(tags), options));
    }

    @Override
    public CompletableFuture<Boolean> invalidatePrefix(String prefix) {
        return onExecutor(core.invalidations.prefix(scope, prefix, options));
    }

    @Override
    public CompletableFuture<Boolean> invalidatePattern(String pattern) {
        return onExecutor(core.invalidations.pattern(scope, pattern, options));
    }

    @Override
    public CompletableFuture<Boolean> invalidateAll() {
        return onExecutor(core.invalidations.all(scope, options));
    }
}
