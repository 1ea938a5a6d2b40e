package dev.twintier.client;

import java.io.IOException;
import java.lang.reflect.Type;

/** Conversion of values to bytes and back. Implementations are safe for use by several threads. */
public interface Serializer {
    /**
     * Returns the content type of the bytes. A value with another content type counts as a miss.
     *
     * @return the content type
     */
    String contentType();

    /**
     * Converts a value to bytes.
     *
     * @param value the value, not null
     * @return the bytes
     * @throws IOException if the value cannot be converted
     */
    byte[] serialize(Object value) throws IOException;

    /**
     * Converts bytes to a value.
     *
     * @param bytes the bytes
     * @param type type of the value
     * @return the value, not null
     * @throws IOException if the bytes cannot be read as that type
     */
    Object deserialize(byte[] bytes, Type type) throws IOException;
}
