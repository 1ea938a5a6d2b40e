package dev.twintier.client;

import java.util.Collection;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletionException;
import java.util.function.Function;

/** Parts of a cache that knows how to load its values. Both views share them. */
record LoadingParts<K, V>(CacheView<V> cache, Function<? super K, String> key,
        Function<? super K, ? extends Collection<String>> tags, CacheLoader<? super K, ? extends V> loader) {
    /** Returns the view for writes of an entry: with its tags. */
    Cache<V> entry(K id) {
        Collection<String> own = tags.apply(id);
        return own.isEmpty() ? cache : cache.with(EntryOptions.none().tags(own));
    }

    String key(K id) {
        return key.apply(id);
    }

    List<String> keys(Collection<? extends K> ids) {
        return ids.stream().map(key).toList();
    }

    V load(K id) throws Exception {
        return loader.load(id);
    }

    /** Returns the values of keys that were found, by their ids. */
    Map<K, V> byId(Collection<? extends K> ids, Map<String, V> found) {
        Map<K, V> values = new LinkedHashMap<>();
        for (K id : ids) {
            V value = found.get(key(id));
            if (value != null) {
                values.put(id, value);
            }
        }
        return values;
    }

    /** Returns an unchecked failure as it is, and a checked one in a CompletionException, as Caffeine does. */
    static RuntimeException unchecked(Exception failure) {
        return failure instanceof RuntimeException runtime ? runtime : new CompletionException(failure);
    }
}
