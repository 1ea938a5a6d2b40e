package dev.twintier.client;

import io.grpc.ChannelCredentials;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import io.grpc.ManagedChannelBuilder;
import io.grpc.TlsChannelCredentials;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;

/** Connection of a client: balancing, health checks, retries, keepalive, TLS. */
final class Channels {
    private static final long KEEPALIVE_SECONDS = 30;
    private static final int MAX_MESSAGE_BYTES = 64 << 20;

    /** Service config of docs/rolling-updates.md. Deadlines are those of the calls. */
    private static final Map<String, Object> SERVICE_CONFIG = Map.of(
            "loadBalancingConfig", List.of(Map.of("round_robin", Map.of())),
            "healthCheckConfig", Map.of("serviceName", "readiness"),
            "methodConfig", List.of(
                    Map.of("name", List.of(Map.of("service", "twintier.v1.CacheService")),
                            "retryPolicy", Map.of(
                                    "maxAttempts", 4.0,
                                    "initialBackoff", "0.1s",
                                    "maxBackoff", "1s",
                                    "backoffMultiplier", 2.0,
                                    "retryableStatusCodes", List.of("UNAVAILABLE"))),
                    Map.of("name", List.of(
                            Map.of("service", "twintier.v1.CacheService", "method", "Watch")))));

    private Channels() {
    }

    static ManagedChannel open(TwintierClientBuilder settings) {
        ManagedChannelBuilder<?> channel =
                Grpc.newChannelBuilder(target(settings.addresses), credentials(settings))
                        .defaultServiceConfig(SERVICE_CONFIG)
                        .enableRetry()
                        .directExecutor()
                        .maxInboundMessageSize(MAX_MESSAGE_BYTES)
                        .keepAliveTime(KEEPALIVE_SECONDS, TimeUnit.SECONDS)
                        .keepAliveTimeout(10, TimeUnit.SECONDS)
                        .userAgent("twintier-java");
        if (settings.authority != null) {
            channel.overrideAuthority(settings.authority);
        }
        if (settings.tokenFile != null) {
            channel.intercept(new TokenFile(settings.tokenFile));
        }
        return channel.intercept(settings.interceptors).build();
    }

    private static String target(List<String> addresses) {
        return addresses.size() == 1 ? addresses.get(0) : StaticAddresses.target(addresses);
    }

    private static ChannelCredentials credentials(TwintierClientBuilder settings) {
        if (!settings.tls) {
            return InsecureChannelCredentials.create();
        }
        try {
            TlsChannelCredentials.Builder tls = TlsChannelCredentials.newBuilder();
            if (settings.caFile != null) {
                tls.trustManager(settings.caFile.toFile());
            }
            if (settings.certFile != null) {
                tls.keyManager(settings.certFile.toFile(), settings.keyFile.toFile());
            }
            return tls.build();
        } catch (IOException failure) {
            throw new UncheckedIOException("tls: cannot read " + settings.caFile + ", " + settings.certFile
                    + ", " + settings.keyFile, failure);
        }
    }
}
