package dev.twintier.conformance;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.BinaryNode;
import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.twintier.client.BytesSerializer;
import dev.twintier.client.JsonSerializer;
import dev.twintier.client.MsgpackSerializer;
import dev.twintier.client.Serializer;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.lang.reflect.Type;
import java.util.Base64;

/** Values of the suite, in which bytes are {@code {"$bytes": base64}}. */
final class Values {
    private static final String BYTES = "$bytes";

    private Values() {
    }

    static Serializer serializer(String name) {
        return switch (name) {
            case "json" -> new JsonSerializer();
            case "msgpack" -> new MsgpackSerializer();
            case "bytes" -> new BytesSerializer();
            default -> throw new UnsupportedOperationException("serializer: " + name);
        };
    }

    static Type type(String serializer) {
        return serializer.equals("bytes") ? byte[].class : JsonNode.class;
    }

    /** Returns the value that a cache gets. */
    static Object fromSuite(JsonNode value, String serializer) {
        JsonNode plain = fromSuite(value);
        if (!serializer.equals("bytes")) {
            return plain;
        }
        try {
            return plain.isBinary() ? plain.binaryValue() : plain.toString();
        } catch (IOException impossible) {
            throw new UncheckedIOException(impossible);
        }
    }

    private static JsonNode fromSuite(JsonNode value) {
        if (value.isObject() && value.size() == 1 && value.has(BYTES)) {
            return BinaryNode.valueOf(Base64.getDecoder().decode(value.get(BYTES).asText()));
        }
        if (value.isArray()) {
            ArrayNode array = JsonNodeFactory.instance.arrayNode();
            value.forEach(item -> array.add(fromSuite(item)));
            return array;
        }
        if (value.isObject()) {
            ObjectNode object = JsonNodeFactory.instance.objectNode();
            value.properties().forEach(field -> object.set(field.getKey(), fromSuite(field.getValue())));
            return object;
        }
        return value;
    }

    /** Returns the value that the suite gets. */
    static JsonNode toSuite(Object value) {
        if (value instanceof byte[] bytes) {
            return JsonNodeFactory.instance.objectNode().put(BYTES, Base64.getEncoder().encodeToString(bytes));
        }
        JsonNode node = (JsonNode) value;
        if (node instanceof BinaryNode binary) {
            return toSuite(binary.binaryValue());
        }
        if (node.isArray()) {
            ArrayNode array = JsonNodeFactory.instance.arrayNode();
            node.forEach(item -> array.add(toSuite(item)));
            return array;
        }
        if (node.isObject()) {
            ObjectNode object = JsonNodeFactory.instance.objectNode();
            node.properties().forEach(field -> object.set(field.getKey(), toSuite(field.getValue())));
            return object;
        }
        return node;
    }
}
