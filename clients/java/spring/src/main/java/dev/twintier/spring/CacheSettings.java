package dev.twintier.spring;

import dev.twintier.client.EntryOptions;
import java.lang.reflect.Type;

/**
 * Settings of one of Spring's caches.
 *
 * @param type type of its values; null to take that of each annotated method
 * @param options options of its entries
 */
public record CacheSettings(Type type, EntryOptions options) {
    /**
     * Returns settings whose type of values is that of each annotated method.
     *
     * @param options options of the entries
     * @return the settings
     */
    public static CacheSettings of(EntryOptions options) {
        return new CacheSettings(null, options);
    }

    /**
     * Returns settings with a type of values.
     *
     * @param type type of the values
     * @param options options of the entries
     * @return the settings
     */
    public static CacheSettings of(Type type, EntryOptions options) {
        return new CacheSettings(type, options);
    }
}
