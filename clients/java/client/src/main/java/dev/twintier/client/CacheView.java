package dev.twintier.client;

import dev.twintier.client.Flights.Flight;
import dev.twintier.v1.GetResponse;
import java.time.Duration;
import java.util.Collection;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.function.Supplier;

/** Synchronous view. */
final class CacheView<V> implements Cache<V> {
    private final Core core;
    private final Scope scope;
    private final Codec<V> codec;
    private final EntryOptions options;
    private final AsyncCacheView<V> async;

    CacheView(Core core, Scope scope, Codec<V> codec, EntryOptions options) {
        this.core = core;
        this.scope = scope;
        this.codec = codec;
        this.options = options;
        this.async = new AsyncCacheView<>(core, scope, codec, options);
    }

    @Override
    public CacheView<V> with(EntryOptions changes) {
        return new CacheView<>(core, scope, codec, changes.over(options));
    }

    /** Returns this view with other tokens. */
    CacheView<V> in(Scope other) {
        return new CacheView<>(core, other, codec, options);
    }

    @Override
    public AsyncCache<V> async() {
        return async;
    }

    @Override
    public Lookup<V> get(String key) {
        GetResponse near = core.reads.near(scope, key, options);
        return async.found(near != null ? near : Await.join(async.read(key)), near != null);
    }

    @Override
    public Map<String, V> getAll(Collection<String> keys) {
        return async.values(Await.join(async.readAll(keys)));
    }

    @Override
    public <E extends Exception> Optional<V> getOrSet(String key, Loader<? extends V, E> loader) throws E {
        GetResponse near = core.reads.near(scope, key, options);
        Lookup<V> known = near == null ? Lookup.miss() : async.found(near, true);
        return (known.isMiss() ? load(key, loader) : known).toOptional();
    }

    private <E extends Exception> Lookup<V> load(String key, Loader<? extends V, E> loader) throws E {
        CallerThread caller = new CallerThread(core.executor);
        SyncLoad<V> load = new SyncLoad<>(loader, caller, core.executor);
        Flight<V> flight = core.flights.join(Flights.Key.of(scope, codec, key, options), started ->
                new Fill<>(core, scope, codec, key, options, caller, () -> load.run(started)).start());
        try {
            return caller.await(flight.result());
        } catch (InterruptedException interrupted) {
            if (interrupted == load.interruption()) {
                throw Await.<E>unchanged(interrupted);
            }
            throw Await.interrupted(interrupted);
        } catch (ExecutionException failure) {
            throw Await.<E>unchanged(failure.getCause());
        }
    }

    @Override
    public boolean set(String key, V value) {
        return Await.join(async.write(key, codec.encode(value), Fence.ALWAYS));
    }

    @Override
    public boolean setIfAbsent(String key, V value) {
        return Await.join(async.write(key, codec.encode(value), Fence.IF_ABSENT));
    }

    @Override
    public Set<String> setAll(Map<String, V> values) {
        return Await.join(async.writeAll(values));
    }

    @Override
    public boolean setAbsent(String key) {
        return Await.join(async.write(key, null, Fence.ALWAYS));
    }

    @Override
    public boolean touch(String key, Duration ttl) {
        return Await.join(core.writes.touch(scope, key, ttl, options));
    }

    @Override
    public boolean invalidateKeys(Collection<String> keys) {
        return Await.join(core.invalidations.keys(scope, keys, options));
    }

    @Override
    public boolean invalidateTags(String... tags) {
        return Await.join(core.invalidations.tags(scope, List.of(tags), options));
    }

    @Override
    public boolean invalidatePrefix(String prefix) {
        return Await.join(core.invalidations.prefix(scope, prefix, options));
    }

    @Override
    public boolean invalidatePattern(String pattern) {
        return Await.join(core.invalidations.pattern(scope, pattern, options));
    }

    @Override
    public boolean invalidateAll() {
        return Await.join(core.invalidations.all(scope, options));
    }

    @Override
    public void setLater(String key, V value) {
        Arguments.notEmpty("key", key);
        Codec.Payload payload = codec.encode(value);
        later(() -> async.write(key, payload, Fence.ALWAYS));
    }

    @Override
    public void invalidateLater(String... keys) {
        List<String> list = List.of(keys);
        list.forEach(key -> Arguments.notEmpty("key", key));
        later(() -> core.invalidations.keys(scope, list, options));
    }

    private void later(Supplier<CompletableFuture<Boolean>> write) {
        core.later.add(write);
    }
}
