package dev.twintier.client;

import java.time.Duration;
import java.util.Collection;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionStage;
import java.util.function.Supplier;

/**
 * Asynchronous view of the cache for values of one type: as {@link Cache}, with futures. Futures complete on
 * the client's executor. To cancel one does not cancel the load that others wait for.
 *
 * @param <V> type of the values
 */
public interface AsyncCache<V> {
    /**
     * Returns a view with options in place of this view's. Those that are not set stay.
     *
     * @param options the options
     * @return the view
     */
    AsyncCache<V> with(EntryOptions options);

    /**
     * Returns the synchronous view.
     *
     * @return the view
     */
    Cache<V> synchronous();

    /**
     * Returns the value of a key, or its value from the loader.
     *
     * @param key the key
     * @param loader the loader; it runs on the client's executor, and null means that the thing does not
     *     exist
     * @return the value, or nothing if the thing does not exist; fails with the loader's error, unchanged
     */
    CompletableFuture<Optional<V>> getOrSet(String key, Supplier<? extends CompletionStage<? extends V>> loader);

    /**
     * Returns the value of a key, or its value from the loader, with options.
     *
     * @param key the key
     * @param loader the loader
     * @param options the options
     * @return the value, or nothing if the thing does not exist; fails with the loader's error, unchanged
     */
    default CompletableFuture<Optional<V>> getOrSet(String key,
            Supplier<? extends CompletionStage<? extends V>> loader, EntryOptions options) {
        return with(options).getOrSet(key, loader);
    }

    /**
     * Reads a key.
     *
     * @param key the key
     * @return a hit, a negative entry or a miss
     */
    CompletableFuture<Lookup<V>> get(String key);

    /**
     * Reads keys.
     *
     * @param keys the keys
     * @return the values that were found
     */
    CompletableFuture<Map<String, V>> getAll(Collection<String> keys);

    /**
     * Writes a value.
     *
     * @param key the key
     * @param value the value
     * @return true if it was stored
     */
    CompletableFuture<Boolean> set(String key, V value);

    /**
     * Writes a value with options.
     *
     * @param key the key
     * @param value the value
     * @param options the options
     * @return true if it was stored
     */
    default CompletableFuture<Boolean> set(String key, V value, EntryOptions options) {
        return with(options).set(key, value);
    }

    /**
     * Writes a value if the key has no entry.
     *
     * @param key the key
     * @param value the value
     * @return true if it was stored
     */
    CompletableFuture<Boolean> setIfAbsent(String key, V value);

    /**
     * Writes values.
     *
     * @param values the values by their keys
     * @return the keys that were stored
     */
    CompletableFuture<Set<String>> setAll(Map<String, V> values);

    /**
     * Writes a negative entry: the thing is known not to exist.
     *
     * @param key the key
     * @return true if it was stored
     */
    CompletableFuture<Boolean> setAbsent(String key);

    /**
     * Changes the time to live of an entry.
     *
     * @param key the key
     * @param ttl the time to live, from now
     * @return true if there is such an entry
     */
    CompletableFuture<Boolean> touch(String key, Duration ttl);

    /**
     * Removes the entries of keys.
     *
     * @param keys the keys
     * @return true if it was done
     */
    CompletableFuture<Boolean> invalidateKeys(Collection<String> keys);

    /**
     * Removes every entry that has one of the tags.
     *
     * @param tags the tags
     * @return true if it was done
     */
    CompletableFuture<Boolean> invalidateTags(String... tags);

    /**
     * Removes every entry below key segments, as {@link Cache#invalidatePrefix(String)}.
     *
     * @param prefix the segments
     * @return true if it was done
     */
    CompletableFuture<Boolean> invalidatePrefix(String prefix);

    /**
     * Removes every entry whose key matches, as {@link Cache#invalidatePattern(String)}.
     *
     * @param pattern the pattern
     * @return true if it was done
     */
    CompletableFuture<Boolean> invalidatePattern(String pattern);

    /**
     * Removes every entry of the namespace.
     *
     * @return true if it was done
     */
    CompletableFuture<Boolean> invalidateAll();
}
