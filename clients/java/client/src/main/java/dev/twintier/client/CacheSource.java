package dev.twintier.client;

import java.lang.reflect.Type;

/** Source of typed views of the cache: a client, or a session of it. */
public interface CacheSource {
    /**
     * Returns a view for values of a type.
     *
     * @param type type of the values
     * @param <V> type of the values
     * @return the view
     */
    default <V> Cache<V> cache(Class<V> type) {
        return cache((Type) type);
    }

    /**
     * Returns a view for values of a type with type arguments.
     *
     * @param type type of the values
     * @param <V> type of the values
     * @return the view
     */
    default <V> Cache<V> cache(TypeRef<V> type) {
        return cache(type.type());
    }

    /**
     * Returns a view for values of a type that is known at run time only.
     *
     * @param type type of the values
     * @param <V> type of the values, which the caller vouches for
     * @return the view
     */
    <V> Cache<V> cache(Type type);
}
