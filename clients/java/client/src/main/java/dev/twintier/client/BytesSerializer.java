package dev.twintier.client;

import java.lang.reflect.Type;

/** Serializer of {@code byte[]} as they are. */
public final class BytesSerializer implements Serializer {
    /** Creates a serializer. */
    public BytesSerializer() {
    }

    @Override
    public String contentType() {
        return "application/octet-stream";
    }

    @Override
    public byte[] serialize(Object value) {
        if (value instanceof byte[] bytes) {
            return bytes.clone();
        }
        throw new IllegalArgumentException("value: must be byte[], was " + value.getClass().getName());
    }

    @Override
    public Object deserialize(byte[] bytes, Type type) {
        return bytes;
    }
}
