package dev.twintier.client;

import java.util.Collection;
import java.util.Map;
import java.util.concurrent.CompletableFuture;

/**
 * Asynchronous view of a cache that knows how to load its values. Loaders run on the client's executor.
 *
 * @param <K> type of the keys
 * @param <V> type of the values
 */
public interface AsyncLoadingCache<K, V> {
    /**
     * Returns the value of a key, and loads it if it is missing.
     *
     * @param key the key
     * @return the value, or null if it does not exist; fails with the loader's error
     */
    CompletableFuture<V> get(K key);

    /**
     * Returns the values of keys, and loads those that are missing.
     *
     * @param keys the keys
     * @return the values of the keys that exist, in their order; fails with the error of a loader
     */
    CompletableFuture<Map<K, V>> getAll(Collection<? extends K> keys);

    /**
     * Writes a value.
     *
     * @param key the key
     * @param value the value
     * @return true if it was stored
     */
    CompletableFuture<Boolean> put(K key, V value);

    /**
     * Removes the entry of a key.
     *
     * @param key the key
     * @return true if it was done
     */
    CompletableFuture<Boolean> invalidate(K key);

    /**
     * Returns the synchronous view.
     *
     * @return the view
     */
    LoadingCache<K, V> synchronous();
}
