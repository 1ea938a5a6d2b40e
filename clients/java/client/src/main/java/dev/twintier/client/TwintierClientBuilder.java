package dev.twintier.client;

import io.grpc.ClientInterceptor;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
import java.util.concurrent.Executor;
import java.util.concurrent.ForkJoinPool;

/** Builder of a {@link TwintierClient}. */
public final class TwintierClientBuilder {
    private static final int DEFAULT_LATER_QUEUE = 10_000;
    private static final int DEFAULT_MAX_REFRESHES = 16;

    final List<String> addresses;
    final List<Hooks> hooks = new ArrayList<>();
    final List<ClientInterceptor> interceptors = new ArrayList<>();
    EntryOptions defaults = EntryOptions.none().namespace("default").timeout(Duration.ofMillis(250));
    Serializer serializer = new JsonSerializer();
    Executor executor = ForkJoinPool.commonPool();
    NearCacheOptions nearCache;
    int laterQueue = DEFAULT_LATER_QUEUE;
    int maxRefreshes = DEFAULT_MAX_REFRESHES;
    String authority;
    Path tokenFile;
    boolean tls;
    Path caFile;
    Path certFile;
    Path keyFile;

    TwintierClientBuilder(List<String> addresses) {
        if (addresses.isEmpty()) {
            throw new IllegalArgumentException("addresses: must not be empty");
        }
        addresses.forEach(address -> Arguments.notEmpty("address", address));
        this.addresses = List.copyOf(addresses);
    }

    /**
     * Sets the namespace of calls whose options name none. The default is {@code default}.
     *
     * @param namespace the namespace
     * @return this builder
     */
    public TwintierClientBuilder namespace(String namespace) {
        return defaults(EntryOptions.none().namespace(namespace));
    }

    /**
     * Sets the deadline of a call, the wait for a lease excepted. The default is 250 ms.
     *
     * @param timeout at least 1 ms
     * @return this builder
     */
    public TwintierClientBuilder timeout(Duration timeout) {
        return defaults(EntryOptions.none().timeout(timeout));
    }

    /**
     * Sets whether failures of the service are errors. By default they are not: the cache fails open.
     *
     * @param strict true for errors
     * @return this builder
     */
    public TwintierClientBuilder strict(boolean strict) {
        return defaults(EntryOptions.none().strict(strict));
    }

    /**
     * Sets options of all calls. Those that are not set stay.
     *
     * @param options the options
     * @return this builder
     */
    public TwintierClientBuilder defaults(EntryOptions options) {
        defaults = options.over(defaults);
        return this;
    }

    /**
     * Sets the serializer of values. The default is JSON.
     *
     * @param value the serializer
     * @return this builder
     */
    public TwintierClientBuilder serializer(Serializer value) {
        serializer = Objects.requireNonNull(value, "serializer");
        return this;
    }

    /**
     * Keeps entries in the client's own memory.
     *
     * @param options the options
     * @return this builder
     */
    public TwintierClientBuilder nearCache(NearCacheOptions options) {
        nearCache = Objects.requireNonNull(options, "nearCache");
        return this;
    }

    /**
     * Sets the number of background writes that may wait. When there are more, the oldest is dropped. The
     * default is 10,000.
     *
     * @param capacity at least 1
     * @return this builder
     */
    public TwintierClientBuilder laterQueue(int capacity) {
        laterQueue = (int) Arguments.atLeast("laterQueue", capacity, 1);
        return this;
    }

    /**
     * Sets how many entries may be refreshed in the background at the same time. The default is 16. Those
     * beyond are left to another caller.
     *
     * @param maximum at least 1
     * @return this builder
     */
    public TwintierClientBuilder maxRefreshes(int maximum) {
        maxRefreshes = (int) Arguments.atLeast("maxRefreshes", maximum, 1);
        return this;
    }

    /**
     * Sets the executor of futures, refreshes and background writes. The default is the common pool.
     *
     * @param value the executor
     * @return this builder
     */
    public TwintierClientBuilder executor(Executor value) {
        executor = Objects.requireNonNull(value, "executor");
        return this;
    }

    /**
     * Adds an observer.
     *
     * @param observer the observer
     * @return this builder
     */
    public TwintierClientBuilder hooks(Hooks observer) {
        hooks.add(Objects.requireNonNull(observer, "hooks"));
        return this;
    }

    /**
     * Adds an interceptor of gRPC calls, such as one that sends a trace context.
     *
     * @param interceptor the interceptor
     * @return this builder
     */
    public TwintierClientBuilder interceptor(ClientInterceptor interceptor) {
        interceptors.add(Objects.requireNonNull(interceptor, "interceptor"));
        return this;
    }

    /**
     * Sends the bearer token of a file. The file is read anew every second, so that it can be rotated.
     *
     * @param file the file
     * @return this builder
     */
    public TwintierClientBuilder tokenFile(Path file) {
        tokenFile = Objects.requireNonNull(file, "tokenFile");
        return this;
    }

    /**
     * Connects by TLS, and trusts the authorities that Java trusts.
     *
     * @return this builder
     */
    public TwintierClientBuilder tls() {
        tls = true;
        return this;
    }

    /**
     * Connects by TLS, and trusts the authorities of a file.
     *
     * @param file certificates in PEM
     * @return this builder
     */
    public TwintierClientBuilder caFile(Path file) {
        caFile = Objects.requireNonNull(file, "caFile");
        return tls();
    }

    /**
     * Connects by mutual TLS.
     *
     * @param cert the certificate chain in PEM
     * @param key its private key in PEM (PKCS #8)
     * @return this builder
     */
    public TwintierClientBuilder clientCertificate(Path cert, Path key) {
        certFile = Objects.requireNonNull(cert, "certFile");
        keyFile = Objects.requireNonNull(key, "keyFile");
        return tls();
    }

    /**
     * Sets the name that the certificate of the service has, if it is not that of the address.
     *
     * @param name the name
     * @return this builder
     */
    public TwintierClientBuilder authority(String name) {
        authority = Arguments.notEmpty("authority", name);
        return this;
    }

    /**
     * Builds the client, and begins to connect.
     *
     * @return the client
     */
    public TwintierClient build() {
        return new TwintierClient(new Core(this));
    }
}
