package dev.twintier.client;

import java.lang.reflect.ParameterizedType;
import java.lang.reflect.Type;

/**
 * Type of values with type arguments: {@code new TypeRef<List<User>>() {}}.
 *
 * @param <V> the type
 */
public abstract class TypeRef<V> {
    private final Type type;

    /** Creates a type from the type argument of the subclass. */
    protected TypeRef() {
        if (!(getClass().getGenericSuperclass() instanceof ParameterizedType parameterized)) {
            throw new IllegalArgumentException("TypeRef: must have a type argument");
        }
        this.type = parameterized.getActualTypeArguments()[0];
    }

    /**
     * Returns the type.
     *
     * @return the type
     */
    public final Type type() {
        return type;
    }
}
