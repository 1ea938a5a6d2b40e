package dev.twintier.client;

import java.util.Collection;
import java.util.LinkedHashMap;
import java.util.Map;

/** Synchronous view of a cache that knows how to load its values. */
final class LoadingCacheView<K, V> implements LoadingCache<K, V> {
    private final LoadingParts<K, V> parts;

    LoadingCacheView(LoadingParts<K, V> parts) {
        this.parts = parts;
    }

    @Override
    public V get(K id) {
        try {
            return parts.entry(id).getOrSet(parts.key(id), () -> parts.load(id)).orElse(null);
        } catch (Exception failure) {
            throw LoadingParts.unchecked(failure);
        }
    }

    @Override
    public V getIfPresent(K id) {
        return parts.cache().get(parts.key(id)).orElse(null);
    }

    @Override
    public Map<K, V> getAll(Collection<? extends K> ids) {
        Map<K, V> present = getAllPresent(ids);
        Map<K, V> values = new LinkedHashMap<>();
        for (K id : ids) {
            V value = present.containsKey(id) ? present.get(id) : get(id);
            if (value != null) {
                values.put(id, value);
            }
        }
        return values;
    }

    @Override
    public Map<K, V> getAllPresent(Collection<? extends K> ids) {
        return parts.byId(ids, parts.cache().getAll(parts.keys(ids)));
    }

    @Override
    public void put(K id, V value) {
        parts.entry(id).set(parts.key(id), value);
    }

    @Override
    public V refresh(K id) {
        try {
            V value = parts.load(id);
            if (value == null) {
                parts.entry(id).setAbsent(parts.key(id));
            } else {
                put(id, value);
            }
            return value;
        } catch (Exception failure) {
            throw LoadingParts.unchecked(failure);
        }
    }

    @Override
    public void invalidate(K id) {
        parts.cache().invalidate(parts.key(id));
    }

    @Override
    public void invalidateAll(Collection<? extends K> ids) {
        parts.cache().invalidateKeys(parts.keys(ids));
    }

    @Override
    public LoadingCache<K, V> in(Session session) {
        return new LoadingCacheView<>(new LoadingParts<>(
                parts.cache().in(session.scope()), parts.key(), parts.tags(), parts.loader()));
    }

    @Override
    public AsyncLoadingCache<K, V> async() {
        return new AsyncLoadingCacheView<>(parts);
    }
}
