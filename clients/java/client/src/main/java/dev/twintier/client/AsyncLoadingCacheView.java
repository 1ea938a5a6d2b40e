package dev.twintier.client;

import java.util.Collection;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;

/** Asynchronous view of a cache that knows how to load its values. */
final class AsyncLoadingCacheView<K, V> implements AsyncLoadingCache<K, V> {
    private final LoadingParts<K, V> parts;

    AsyncLoadingCacheView(LoadingParts<K, V> parts) {
        this.parts = parts;
    }

    @Override
    public CompletableFuture<V> get(K id) {
        return parts.entry(id).async().getOrSet(parts.key(id), () -> load(id))
                .thenApply(value -> value.orElse(null));
    }

    private CompletableFuture<V> load(K id) {
        try {
            return CompletableFuture.completedFuture(parts.load(id));
        } catch (Exception failure) {
            return CompletableFuture.failedFuture(failure);
        }
    }

    @Override
    public CompletableFuture<Map<K, V>> getAll(Collection<? extends K> ids) {
        return parts.cache().async().getAll(parts.keys(ids)).thenCompose(found -> {
            Map<K, V> present = parts.byId(ids, found);
            Map<K, CompletableFuture<V>> loads = new LinkedHashMap<>();
            for (K id : ids) {
                V value = present.get(id);
                loads.computeIfAbsent(id, missing ->
                        value != null ? CompletableFuture.completedFuture(value) : get(missing));
            }
            return CompletableFuture.allOf(loads.values().toArray(CompletableFuture[]::new))
                    .thenApply(done -> joined(loads));
        });
    }

    private static <K, V> Map<K, V> joined(Map<K, CompletableFuture<V>> loads) {
        Map<K, V> values = new LinkedHashMap<>();
        loads.forEach((id, load) -> {
            V value = load.join();
            if (value != null) {
                values.put(id, value);
            }
        });
        return values;
    }

    @Override
    public CompletableFuture<Boolean> put(K id, V value) {
        return parts.entry(id).async().set(parts.key(id), value);
    }

    @Override
    public CompletableFuture<Boolean> invalidate(K id) {
        return parts.cache().async().invalidateKeys(parts.keys(List.of(id)));
    }

    @Override
    public LoadingCache<K, V> synchronous() {
        return new LoadingCacheView<>(parts);
    }
}
