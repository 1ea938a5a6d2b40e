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

    /**
     * Converts bytes of a content type to a value. Parameters of the content type are ignored.
     *
     * @param bytes the bytes
     * @param actualType their content type
     * @param type type of the value
     * @return the value, not null
     * @throws IOException if the content type is another one, or the bytes cannot be read as that type
     */
    default Object deserialize(byte[] bytes, String actualType, Type type) throws IOException {
        int end = actualType.indexOf(';');
        String media = end < 0 ? actualType : actualType.substring(0, end).strip();
        if (!media.equalsIgnoreCase(contentType())) {
            throw new IOException("content type: must be " + contentType() + ", was \"" + actualType + "\"");
        }
        return deserialize(bytes, type);
    }
}
