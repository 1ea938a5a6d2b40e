package dev.twintier.client;

import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.json.JsonMapper;

/** Serializer of compact JSON, with Jackson. The default. */
public final class JsonSerializer extends JacksonSerializer {
    /**
     * Creates a serializer with the modules on the class path. Unknown properties are ignored, so that a
     * reader and a writer can be updated one after the other.
     */
    public JsonSerializer() {
        this(JsonMapper.builder().findAndAddModules()
                .disable(DeserializationFeature.FAIL_ON_UNKNOWN_PROPERTIES).build());
    }

    /**
     * Creates a serializer with a mapper of its own.
     *
     * @param mapper the mapper; not to be changed afterwards
     */
    public JsonSerializer(ObjectMapper mapper) {
        super(mapper);
    }

    @Override
    public String contentType() {
        return "application/json";
    }
}
