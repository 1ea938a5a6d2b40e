package dev.twintier.client;

import java.lang.reflect.Type;
import java.time.Duration;
import java.util.List;

/**
 * Client of twintier. An application has one for its lifetime. Safe for use by several threads.
 *
 * <pre>{@code
 * try (TwintierClient client = TwintierClient.builder("dns:///twintier-headless:50051").build()) {
 *     Cache<User> users = client.cache(User.class).with(EntryOptions.ofTtl(Duration.ofMinutes(5)));
 *     Optional<User> user = users.getOrSet("user:42", () -> database.findUser(42));
 * }
 * }</pre>
 */
public final class TwintierClient implements CacheSource, AutoCloseable {
    private static final Duration DRAIN = Duration.ofSeconds(1);

    private final Core core;

    TwintierClient(Core core) {
        this.core = core;
    }

    /**
     * Returns a builder.
     *
     * @param addresses a target of gRPC such as {@code dns:///twintier-headless:50051}, or several
     *     {@code host:port}
     * @return the builder
     */
    public static TwintierClientBuilder builder(String... addresses) {
        return new TwintierClientBuilder(List.of(addresses));
    }

    /**
     * Returns a builder.
     *
     * @param addresses a target of gRPC, or several {@code host:port}
     * @return the builder
     */
    public static TwintierClientBuilder builder(List<String> addresses) {
        return new TwintierClientBuilder(addresses);
    }

    @Override
    public <V> Cache<V> cache(Type type) {
        return core.cache(Scope.NONE, type);
    }

    /**
     * Returns a builder of a cache that knows how to load its values.
     *
     * @param type type of the values
     * @param <V> type of the values
     * @return the builder
     */
    public <V> LoadingCacheBuilder<Object, V> loadingCache(Class<V> type) {
        return new LoadingCacheBuilder<>(core.cache(Scope.NONE, type));
    }

    /**
     * Returns a builder of a cache that knows how to load its values, whose type has type arguments.
     *
     * @param type type of the values
     * @param <V> type of the values
     * @return the builder
     */
    public <V> LoadingCacheBuilder<Object, V> loadingCache(TypeRef<V> type) {
        return new LoadingCacheBuilder<>(core.cache(Scope.NONE, type.type()));
    }

    /**
     * Begins a session.
     *
     * @return the session
     */
    public Session session() {
        return session("");
    }

    /**
     * Goes on with a session of another process.
     *
     * @param text its text
     * @return the session
     * @throws IllegalArgumentException if the text has more than 16 tokens
     */
    public Session session(String text) {
        return new Session(core, text);
    }

    /**
     * Returns the counters, also of a client that is closed.
     *
     * @return the counters
     */
    public ClientStats stats() {
        return core.counters.snapshot();
    }

    /** Closes the client. Background writes have a second to end. */
    @Override
    public void close() {
        close(DRAIN);
    }

    /**
     * Closes the client.
     *
     * @param drain how long background writes have to end
     * @return false if some were lost
     */
    public boolean close(Duration drain) {
        return core.close(Arguments.atLeast("drain", drain, Duration.ZERO));
    }
}
