package dev.twintier.client;

import java.time.Duration;
import java.util.Collection;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;

/**
 * View of the cache for values of one type. Safe for use by several threads.
 *
 * <p>The cache fails open. When the service is away, reads miss, loaders run, and writes return false.
 * With {@link EntryOptions#strict(boolean)} such failures are {@link TwintierException}s. A wrong argument is an
 * {@link IllegalArgumentException}. An interrupted wait is a {@link TwintierException} of the kind
 * {@code CANCELLED}.
 *
 * @param <V> type of the values
 */
public interface Cache<V> {
    /**
     * Returns a view with options in place of this view's. Those that are not set stay.
     *
     * @param options the options
     * @return the view
     */
    Cache<V> with(EntryOptions options);

    /**
     * Returns the asynchronous view.
     *
     * @return the view
     */
    AsyncCache<V> async();

    /**
     * Returns the value of a key, or its value from the loader. One caller of all processes runs its
     * loader, in its own thread. The others wait. An entry that is due for refresh is returned, and loaded in
     * the background.
     *
     * @param key the key
     * @param loader the loader
     * @param <E> type of the loader's checked exception
     * @return the value, or nothing if the thing does not exist
     * @throws E the loader's exception, unchanged
     */
    <E extends Exception> Optional<V> getOrSet(String key, Loader<? extends V, E> loader) throws E;

    /**
     * Returns the value of a key, or its value from the loader, with options.
     *
     * @param key the key
     * @param loader the loader
     * @param options the options
     * @param <E> type of the loader's checked exception
     * @return the value, or nothing if the thing does not exist
     * @throws E the loader's exception, unchanged
     */
    default <E extends Exception> Optional<V> getOrSet(String key, Loader<? extends V, E> loader,
            EntryOptions options) throws E {
        return with(options).getOrSet(key, loader);
    }

    /**
     * Reads a key.
     *
     * @param key the key
     * @return a hit, a negative entry or a miss
     */
    Lookup<V> get(String key);

    /**
     * Reads keys.
     *
     * @param keys the keys
     * @return the values that were found
     */
    Map<String, V> getAll(Collection<String> keys);

    /**
     * Writes a value.
     *
     * @param key the key
     * @param value the value
     * @return true if it was stored
     */
    boolean set(String key, V value);

    /**
     * Writes a value with options.
     *
     * @param key the key
     * @param value the value
     * @param options the options
     * @return true if it was stored
     */
    default boolean set(String key, V value, EntryOptions options) {
        return with(options).set(key, value);
    }

    /**
     * Writes a value if the key has no entry.
     *
     * @param key the key
     * @param value the value
     * @return true if it was stored
     */
    boolean setIfAbsent(String key, V value);

    /**
     * Writes values.
     *
     * @param values the values by their keys
     * @return the keys that were stored
     */
    Set<String> setAll(Map<String, V> values);

    /**
     * Writes a negative entry: the thing is known not to exist.
     *
     * @param key the key
     * @return true if it was stored
     */
    boolean setAbsent(String key);

    /**
     * Changes the time to live of an entry.
     *
     * @param key the key
     * @param ttl the time to live, from now
     * @return true if there is such an entry
     */
    boolean touch(String key, Duration ttl);

    /**
     * Removes the entries of keys.
     *
     * @param keys the keys
     * @return true if it was done
     */
    default boolean invalidate(String... keys) {
        return invalidateKeys(List.of(keys));
    }

    /**
     * Removes the entries of keys.
     *
     * @param keys the keys
     * @return true if it was done
     */
    boolean invalidateKeys(Collection<String> keys);

    /**
     * Removes every entry that has one of the tags.
     *
     * @param tags the tags
     * @return true if it was done
     */
    boolean invalidateTags(String... tags);

    /**
     * Removes every entry below key segments: {@code user:42} covers {@code user:42:name}, but not
     * {@code user:421}.
     *
     * @param prefix the segments
     * @return true if it was done
     */
    boolean invalidatePrefix(String prefix);

    /**
     * Removes every entry whose key matches: {@code *} is any text, {@code ?} one character.
     *
     * @param pattern the pattern
     * @return true if it was done
     */
    boolean invalidatePattern(String pattern);

    /**
     * Removes every entry of the namespace.
     *
     * @return true if it was done
     */
    boolean invalidateAll();

    /**
     * Writes a value in the background. When the queue is full, its oldest write is dropped.
     *
     * @param key the key
     * @param value the value
     */
    void setLater(String key, V value);

    /**
     * Removes the entries of keys in the background. When the queue is full, its oldest write is dropped.
     *
     * @param keys the keys
     */
    void invalidateLater(String... keys);
}
