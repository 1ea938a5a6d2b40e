package dev.twintier.client;

import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.ObjectMapper;
import org.msgpack.jackson.dataformat.MessagePackFactory;

/** Serializer of MessagePack. Needs the artifact {@code org.msgpack:jackson-dataformat-msgpack}. */
public final class MsgpackSerializer extends JacksonSerializer {
    /** Creates a serializer with the modules on the class path. Unknown properties are ignored. */
    public MsgpackSerializer() {
        super(new ObjectMapper(new MessagePackFactory()).findAndRegisterModules()
                .disable(DeserializationFeature.FAIL_ON_UNKNOWN_PROPERTIES));
    }

    @Override
    public String contentType() {
        return "application/msgpack";
    }
}
