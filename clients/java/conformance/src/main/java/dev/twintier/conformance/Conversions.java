package dev.twintier.conformance;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.twintier.client.ArgumentKeys;
import dev.twintier.client.KeyTemplate;
import dev.twintier.client.Serializer;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.util.Base64;
import java.util.LinkedHashMap;
import java.util.Map;

/** Operations that make keys and convert values. */
final class Conversions {
    private static final ObjectMapper MAPPER = new ObjectMapper();

    private Conversions() {
    }

    static JsonNode run(JsonNode request, ObjectNode result) {
        return switch (request.get("op").asText()) {
            case "key" -> result.put("key", KeyTemplate.of(request.get("template").asText()).key(values(request)));
            case "argument_key" -> result.put("key",
                    ArgumentKeys.key(request.get("prefix").asText(), request.get("arguments")));
            case "encode" -> encode(request, result);
            default -> decode(request, result);
        };
    }

    private static Map<String, Object> values(JsonNode request) {
        Map<String, Object> values = new LinkedHashMap<>();
        request.get("values").properties().forEach(value ->
                values.put(value.getKey(), MAPPER.convertValue(value.getValue(), Object.class)));
        return values;
    }

    private static JsonNode encode(JsonNode request, ObjectNode result) {
        String name = request.get("serializer").asText();
        Serializer serializer = Values.serializer(name);
        try {
            byte[] bytes = serializer.serialize(Values.fromSuite(request.get("value"), name));
            return result.put("bytes", Base64.getEncoder().encodeToString(bytes))
                    .put("content_type", serializer.contentType());
        } catch (IOException failure) {
            throw new UncheckedIOException(failure);
        }
    }

    private static JsonNode decode(JsonNode request, ObjectNode result) {
        String name = request.get("serializer").asText();
        byte[] bytes = Base64.getDecoder().decode(request.get("bytes").asText());
        try {
            return result.set("value", Values.toSuite(Values.serializer(name).deserialize(
                    bytes, request.get("content_type").asText(), Values.type(name))));
        } catch (IOException failure) {
            throw new ErrorKinds.UnreadableException(failure);
        }
    }
}
