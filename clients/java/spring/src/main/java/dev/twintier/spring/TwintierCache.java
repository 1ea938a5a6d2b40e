package dev.twintier.spring;

import dev.twintier.client.Cache;
import dev.twintier.client.CacheSource;
import dev.twintier.client.EntryOptions;
import dev.twintier.client.Lookup;
import dev.twintier.client.TwintierClient;
import java.lang.reflect.Type;
import java.util.Optional;
import java.util.concurrent.Callable;
import java.util.concurrent.CompletableFuture;
import java.util.function.Supplier;
import org.springframework.cache.support.SimpleValueWrapper;

/**
 * One of Spring's caches, as keys below its name: {@code users:42}. Null is stored as a negative entry. Calls use
 * the session of the request, if there is one.
 */
public final class TwintierCache implements org.springframework.cache.Cache {
    private final String name;
    private final TwintierClient client;
    private final Type type;
    private final EntryOptions options;
    private final SpringKeys keys;

    TwintierCache(String name, TwintierClient client, Type type, EntryOptions options) {
        this.name = name;
        this.client = client;
        this.type = type;
        this.options = options;
        this.keys = new SpringKeys(name);
    }

    /** Returns the same cache for values of another type. */
    TwintierCache of(Type other) {
        return new TwintierCache(name, client, other, options);
    }

    private Cache<Object> entries() {
        CacheSource source = CurrentSession.get().<CacheSource>map(session -> session).orElse(client);
        return source.<Object>cache(type).with(options);
    }

    @Override
    public String getName() {
        return name;
    }

    @Override
    public Object getNativeCache() {
        return client;
    }

    @Override
    public ValueWrapper get(Object key) {
        return wrap(entries().get(keys.key(key)));
    }

    private static ValueWrapper wrap(Lookup<Object> found) {
        return found.isMiss() ? null : new SimpleValueWrapper(found.orElse(null));
    }

    @Override
    public <T> T get(Object key, Class<T> wanted) {
        Object value = entries().get(keys.key(key)).orElse(null);
        if (value != null && wanted != null && !wanted.isInstance(value)) {
            throw new IllegalStateException("value of " + name + " must be of " + wanted + ", was " + value.getClass());
        }
        @SuppressWarnings("unchecked")
        T result = (T) value;
        return result;
    }

    @Override
    public <T> T get(Object key, Callable<T> loader) {
        Optional<Object> value = entries().getOrSet(keys.key(key), () -> {
            try {
                return loader.call();
            } catch (Exception failure) {
                throw new ValueRetrievalException(key, loader, failure);
            }
        });
        @SuppressWarnings("unchecked")
        T result = (T) value.orElse(null);
        return result;
    }

    @Override
    public CompletableFuture<?> retrieve(Object key) {
        return entries().async().get(keys.key(key)).thenApply(TwintierCache::wrap);
    }

    @Override
    public <T> CompletableFuture<T> retrieve(Object key, Supplier<CompletableFuture<T>> loader) {
        return entries().async().getOrSet(keys.key(key), loader).thenApply(value -> {
            @SuppressWarnings("unchecked")
            T result = (T) value.orElse(null);
            return result;
        });
    }

    @Override
    public void put(Object key, Object value) {
        if (value == null) {
            entries().setAbsent(keys.key(key));
        } else {
            entries().set(keys.key(key), value);
        }
    }

    @Override
    public ValueWrapper putIfAbsent(Object key, Object value) {
        if (value == null) {
            ValueWrapper known = get(key);
            if (known == null) {
                put(key, null);
            }
            return known;
        }
        return entries().setIfAbsent(keys.key(key), value) ? null : get(key);
    }

    @Override
    public void evict(Object key) {
        entries().invalidate(keys.key(key));
    }

    @Override
    public void clear() {
        entries().invalidatePrefix(keys.prefix());
    }
}
