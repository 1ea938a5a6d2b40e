package dev.twintier.client;

/**
 * Loader of the values of a {@link LoadingCache}.
 *
 * @param <K> type of the keys
 * @param <V> type of the values
 */
@FunctionalInterface
public interface CacheLoader<K, V> {
    /**
     * Loads the value of a key.
     *
     * @param key the key
     * @return the value, or null if it does not exist: stored as a negative entry
     * @throws Exception if it cannot be loaded
     */
    V load(K key) throws Exception;
}
