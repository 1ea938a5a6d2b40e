package dev.twintier.client;

import com.google.protobuf.ByteString;
import com.google.protobuf.UnsafeByteOperations;
import dev.twintier.v1.Hit;
import java.io.IOException;
import java.lang.reflect.Type;
import java.util.Objects;

/** Serializer of values of one type. */
record Codec<V>(Serializer serializer, Type type) {
    /** A value as it is stored. */
    record Payload(ByteString bytes, String contentType) {
    }

    Payload encode(V value) {
        Objects.requireNonNull(value, "value: must not be null; setAbsent writes a negative entry");
        try {
            byte[] bytes = serializer.serialize(value);
            return new Payload(UnsafeByteOperations.unsafeWrap(bytes), serializer.contentType());
        } catch (IOException failure) {
            throw new IllegalArgumentException(
                    "value: cannot be serialized as " + serializer.contentType() + ": " + failure.getMessage(),
                    failure);
        }
    }

    @SuppressWarnings("unchecked")
    V decode(Hit hit) {
        try {
            return (V) serializer.deserialize(hit.getValue().toByteArray(), hit.getContentType(), type);
        } catch (IOException | RuntimeException failure) {
            throw new TwintierException(TwintierException.Kind.UNREADABLE, "",
                    "value cannot be read as " + serializer.contentType() + ": " + failure.getMessage(), failure);
        }
    }
}
