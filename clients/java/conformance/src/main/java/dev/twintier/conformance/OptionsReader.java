package dev.twintier.conformance;

import com.fasterxml.jackson.databind.JsonNode;
import dev.twintier.client.Consistency;
import dev.twintier.client.EntryOptions;
import dev.twintier.client.NearCacheOptions;
import dev.twintier.client.TwintierClientBuilder;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Map;

/** Reader of the options of the suite. */
final class OptionsReader {
    private OptionsReader() {
    }

    static EntryOptions entry(JsonNode options) {
        EntryOptions result = EntryOptions.none();
        for (Map.Entry<String, JsonNode> option : options.properties()) {
            result = entry(result, option.getKey(), option.getValue());
        }
        return result;
    }

    private static EntryOptions entry(EntryOptions options, String name, JsonNode value) {
        return switch (name) {
            case "ttl" -> options.ttl(duration(value));
            case "soft_ttl" -> options.softTtl(duration(value));
            case "tags" -> options.tags(texts(value));
            case "source_version" -> options.sourceVersion(value.asLong());
            case "negative_ttl" -> options.negativeTtl(duration(value));
            case "jitter" -> options.jitter(value.asDouble());
            case "stale_if_error" -> options.staleIfError(value.asBoolean());
            case "max_staleness" -> options.maxStaleness(duration(value));
            case "consistency" ->
                options.consistency(Consistency.valueOf(value.asText().toUpperCase(Locale.ROOT)));
            case "namespace" -> options.namespace(value.asText());
            case "strict" -> options.strict(value.asBoolean());
            case "timeout" -> options.timeout(duration(value));
            case "lease_duration" -> options.leaseDuration(duration(value));
            case "lease_wait" -> options.leaseWait(duration(value));
            default -> throw new UnsupportedOperationException("option " + name);
        };
    }

    static void client(TwintierClientBuilder builder, JsonNode options) {
        options.properties().forEach(option -> client(builder, options, option.getKey(), option.getValue()));
    }

    private static void client(TwintierClientBuilder builder, JsonNode options, String name, JsonNode value) {
        switch (name) {
            case "serializer" -> builder.serializer(Values.serializer(value.asText()));
            case "near_cache" -> builder.nearCache(near(value));
            case "later_queue" -> builder.laterQueue(value.asInt());
            case "token_file" -> builder.tokenFile(Path.of(value.asText()));
            case "ca_file" -> builder.caFile(Path.of(value.asText()));
            case "cert_file" -> builder.clientCertificate(
                    Path.of(value.asText()), Path.of(options.get("key_file").asText()));
            case "key_file" -> {
                return;
            }
            default -> builder.defaults(entry(EntryOptions.none(), name, value));
        }
    }

    private static NearCacheOptions near(JsonNode options) {
        NearCacheOptions near = NearCacheOptions.ofMaxBytes(options.get("max_bytes").asLong());
        return options.has("max_staleness")
                ? new NearCacheOptions(near.maxBytes(), duration(options.get("max_staleness"))) : near;
    }

    static List<String> texts(JsonNode array) {
        List<String> texts = new ArrayList<>();
        array.forEach(text -> texts.add(text.asText()));
        return texts;
    }

    static Duration duration(JsonNode text) {
        return Durations.parse(text.asText());
    }
}
