package dev.twintier.spring;

import dev.twintier.client.EntryOptions;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import org.springframework.boot.context.properties.ConfigurationProperties;
import org.springframework.boot.context.properties.bind.DefaultValue;
import org.springframework.util.unit.DataSize;

/**
 * Properties {@code twintier.*}.
 *
 * @param addresses a target of gRPC, or several {@code host:port}
 * @param namespace namespace of all caches
 * @param timeout deadline of a call
 * @param strict true if failures of the service are errors
 * @param tokenFile file of the bearer token
 * @param tls TLS
 * @param nearCache near cache
 * @param ttl time to live of the entries of all caches
 * @param caches caches by their names
 * @param sessionFilter true to handle each HTTP request in a session
 */
@ConfigurationProperties("twintier")
public record TwintierProperties(
        @DefaultValue("localhost:50051") List<String> addresses,
        @DefaultValue("default") String namespace,
        @DefaultValue("250ms") Duration timeout,
        boolean strict,
        Path tokenFile,
        @DefaultValue Tls tls,
        NearCache nearCache,
        Duration ttl,
        @DefaultValue Map<String, Entries> caches,
        @DefaultValue("true") boolean sessionFilter) {

    /**
     * TLS.
     *
     * @param enabled true to connect by TLS
     * @param caFile authorities to trust, in PEM
     * @param certFile certificate chain for mutual TLS, in PEM
     * @param keyFile its private key, in PEM
     */
    public record Tls(boolean enabled, Path caFile, Path certFile, Path keyFile) {
    }

    /**
     * Near cache.
     *
     * @param maxSize maximum size of keys and values
     * @param maxStaleness maximum staleness of an answer from it
     */
    public record NearCache(@DefaultValue("16MB") DataSize maxSize, @DefaultValue("2s") Duration maxStaleness) {
    }

    /**
     * Entries of a cache.
     *
     * @param ttl time to live
     * @param softTtl time after which an entry is refreshed when it is read; with {@code sync = true}
     * @param negativeTtl time to live of null
     * @param jitter maximum random share by which the time to live is shortened
     * @param tags tags of all entries
     * @param staleIfError true to accept a stale value if the method fails; with {@code sync = true}
     */
    public record Entries(Duration ttl, Duration softTtl, Duration negativeTtl, Double jitter, List<String> tags,
            boolean staleIfError) {
        EntryOptions options() {
            EntryOptions options = EntryOptions.none().staleIfError(staleIfError);
            options = ttl == null ? options : options.ttl(ttl);
            options = softTtl == null ? options : options.softTtl(softTtl);
            options = negativeTtl == null ? options : options.negativeTtl(negativeTtl);
            options = jitter == null ? options : options.jitter(jitter);
            return tags == null ? options : options.tags(tags);
        }
    }
}
