package dev.twintier.spring;

import dev.twintier.client.EntryOptions;
import dev.twintier.client.TwintierClient;
import java.lang.reflect.Type;
import java.util.Collection;
import java.util.Collections;
import java.util.Map;
import java.util.TreeSet;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ConcurrentMap;
import org.springframework.cache.Cache;
import org.springframework.cache.CacheManager;

/**
 * Manager of Spring's caches over one client. A cache is made when it is first asked for.
 *
 * <p>Values are plain JSON, without names of classes. Their type is that of the annotated method's result, by
 * {@link TwintierCacheResolver}, or that of the settings. A cache that is got from the manager without a type has
 * values of the types that JSON has: maps, lists, strings, numbers.
 */
public final class TwintierCacheManager implements CacheManager {
    private final TwintierClient client;
    private final EntryOptions defaults;
    private final Map<String, CacheSettings> settings;
    private final ConcurrentMap<String, TwintierCache> caches = new ConcurrentHashMap<>();

    /**
     * Creates a manager.
     *
     * @param client the client, which the caller closes
     * @param defaults options of the entries of all caches
     * @param settings settings of caches by their names
     */
    public TwintierCacheManager(TwintierClient client, EntryOptions defaults,
            Map<String, CacheSettings> settings) {
        this.client = client;
        this.defaults = defaults;
        this.settings = Map.copyOf(settings);
    }

    @Override
    public Cache getCache(String name) {
        return caches.computeIfAbsent(name, this::create);
    }

    /** Returns a cache for values of a type, unless its settings have another one. */
    Cache getCache(String name, Type type) {
        TwintierCache cache = (TwintierCache) getCache(name);
        CacheSettings own = settings.get(name);
        return own != null && own.type() != null ? cache : cache.of(type);
    }

    private TwintierCache create(String name) {
        CacheSettings own = settings.getOrDefault(name, CacheSettings.of(EntryOptions.none()));
        Type type = own.type() != null ? own.type() : Object.class;
        return new TwintierCache(name, client, type, own.options().over(defaults));
    }

    @Override
    public Collection<String> getCacheNames() {
        Collection<String> names = new TreeSet<>(caches.keySet());
        names.addAll(settings.keySet());
        return Collections.unmodifiableCollection(names);
    }
}
