package dev.twintier.client;

import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.io.JsonEOFException;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.ObjectReader;
import com.fasterxml.jackson.databind.ObjectWriter;
import java.io.IOException;
import java.lang.reflect.Type;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ConcurrentMap;

/** Base of the serializers that use Jackson's data binding. */
abstract class JacksonSerializer implements Serializer {
    private final ObjectMapper mapper;
    private final ObjectWriter writer;
    private final ConcurrentMap<Type, ObjectReader> readers = new ConcurrentHashMap<>();

    JacksonSerializer(ObjectMapper mapper) {
        this.mapper = mapper;
        this.writer = mapper.writer();
    }

    @Override
    public byte[] serialize(Object value) throws IOException {
        return writer.writeValueAsBytes(value);
    }

    @Override
    public Object deserialize(byte[] bytes, Type type) throws IOException {
        ObjectReader reader = readers.computeIfAbsent(type, this::reader);
        try (JsonParser parser = reader.createParser(bytes)) {
            Object value = reader.readValue(parser);
            if (value == null) {
                throw new IOException("null is not a value");
            }
            if (!isAtEnd(parser)) {
                throw new IOException("the value is followed by more");
            }
            return value;
        } catch (RuntimeException malformed) {
            throw new IOException("malformed: " + malformed.getMessage(), malformed);
        }
    }

    private static boolean isAtEnd(JsonParser parser) throws IOException {
        try {
            return parser.nextToken() == null;
        } catch (JsonEOFException end) {
            // The parser of MessagePack says so.
            return true;
        }
    }

    private ObjectReader reader(Type type) {
        return mapper.readerFor(mapper.constructType(type));
    }
}
