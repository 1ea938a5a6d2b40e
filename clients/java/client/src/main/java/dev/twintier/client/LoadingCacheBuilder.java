package dev.twintier.client;

import java.util.Collection;
import java.util.List;
import java.util.Objects;
import java.util.function.Function;

/**
 * Builder of a {@link LoadingCache}.
 *
 * @param <K> type of the keys
 * @param <V> type of the values
 */
public final class LoadingCacheBuilder<K, V> {
    private final CacheView<V> cache;
    private final Function<? super K, String> key;
    private final Function<? super K, ? extends Collection<String>> tags;

    LoadingCacheBuilder(CacheView<V> cache) {
        this(cache, null, value -> List.of());
    }

    private LoadingCacheBuilder(CacheView<V> cache, Function<? super K, String> key,
            Function<? super K, ? extends Collection<String>> tags) {
        this.cache = cache;
        this.key = key;
        this.tags = tags;
    }

    /**
     * Sets the template of keys, which has one name.
     *
     * @param type type of the keys: a string, an integer or a boolean
     * @param template the template, such as {@code user:{id}}
     * @param <T> type of the keys
     * @return the changed builder
     */
    public <T> LoadingCacheBuilder<T, V> key(Class<T> type, String template) {
        Objects.requireNonNull(type, "type");
        KeyTemplate parsed = KeyTemplate.of(template);
        return new LoadingCacheBuilder<>(cache, parsed::keyOf, value -> List.of());
    }

    /**
     * Sets the function that makes keys. It has to escape values, as {@link KeyTemplate} does.
     *
     * @param function the function
     * @param <T> type of the keys
     * @return the changed builder
     */
    public <T> LoadingCacheBuilder<T, V> key(Function<T, String> function) {
        Objects.requireNonNull(function, "key");
        return new LoadingCacheBuilder<>(cache, function, value -> List.of());
    }

    /**
     * Sets the tags of an entry by its key.
     *
     * @param function the function
     * @return the changed builder
     */
    public LoadingCacheBuilder<K, V> tags(Function<? super K, ? extends Collection<String>> function) {
        return new LoadingCacheBuilder<>(cache, key, Objects.requireNonNull(function, "tags"));
    }

    /**
     * Sets options of all entries.
     *
     * @param options the options
     * @return the changed builder
     */
    public LoadingCacheBuilder<K, V> options(EntryOptions options) {
        return new LoadingCacheBuilder<>(cache.with(options), key, tags);
    }

    /**
     * Builds the cache.
     *
     * @param loader the loader
     * @return the cache
     */
    public LoadingCache<K, V> build(CacheLoader<? super K, ? extends V> loader) {
        if (key == null) {
            throw new IllegalArgumentException("key: must be set, a template or a function");
        }
        return new LoadingCacheView<>(new LoadingParts<>(cache, key, tags, Objects.requireNonNull(loader, "loader")));
    }
}
