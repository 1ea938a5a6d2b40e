package dev.twintier.client;

import java.util.Collection;
import java.util.Map;
import java.util.concurrent.CompletionException;

/**
 * Cache that knows how to load its values, in the manner of Caffeine.
 *
 * <pre>{@code
 * LoadingCache<Long, User> users = client.loadingCache(User.class)
 *         .key(Long.class, "user:{id}")
 *         .options(EntryOptions.ofTtl(Duration.ofMinutes(5)))
 *         .build(database::findUser);
 * User user = users.get(42L);
 * }</pre>
 *
 * @param <K> type of the keys
 * @param <V> type of the values
 */
public interface LoadingCache<K, V> {
    /**
     * Returns the value of a key, and loads it if it is missing.
     *
     * @param key the key
     * @return the value, or null if it does not exist
     * @throws CompletionException if the loader throws a checked exception, which is its cause; an unchecked
     *     one is thrown as it is
     */
    V get(K key);

    /**
     * Returns the value of a key if it is cached.
     *
     * @param key the key
     * @return the value, or null
     */
    V getIfPresent(K key);

    /**
     * Returns the values of keys, and loads those that are missing.
     *
     * @param keys the keys
     * @return the values of the keys that exist, in their order
     * @throws CompletionException as {@link #get}
     */
    Map<K, V> getAll(Collection<? extends K> keys);

    /**
     * Returns the values of those keys that are cached.
     *
     * @param keys the keys
     * @return the values, in the order of the keys
     */
    Map<K, V> getAllPresent(Collection<? extends K> keys);

    /**
     * Writes a value.
     *
     * @param key the key
     * @param value the value
     */
    void put(K key, V value);

    /**
     * Loads the value of a key anew, and writes it.
     *
     * @param key the key
     * @return the value, or null if it does not exist
     * @throws CompletionException as {@link #get}
     */
    V refresh(K key);

    /**
     * Removes the entry of a key.
     *
     * @param key the key
     */
    void invalidate(K key);

    /**
     * Removes the entries of keys.
     *
     * @param keys the keys
     */
    void invalidateAll(Collection<? extends K> keys);

    /**
     * Returns the same cache in a session.
     *
     * @param session the session
     * @return the cache
     */
    LoadingCache<K, V> in(Session session);

    /**
     * Returns the asynchronous view.
     *
     * @return the view
     */
    AsyncLoadingCache<K, V> async();
}
