package dev.twintier.client;

import java.lang.reflect.Type;
import java.util.List;
import java.util.stream.Stream;

/**
 * Session: reads see the session's own writes, and never go back, at any replica. Safe for use by several
 * threads. {@link #text()} hands it to another service, {@link TwintierClient#session(String)} takes it.
 */
public final class Session implements CacheSource {
    private static final String SEPARATOR = ",";

    private final Core core;
    private final SessionTokens tokens;

    Session(Core core, String text) {
        this.core = core;
        List<String> received =
                Stream.of(text.split(SEPARATOR)).map(String::strip).filter(token -> !token.isEmpty()).toList();
        if (received.size() > SessionTokens.MAX_TOKENS) {
            throw new IllegalArgumentException("session: must have at most " + SessionTokens.MAX_TOKENS
                    + " tokens, had " + received.size());
        }
        this.tokens = new SessionTokens(received);
    }

    @Override
    public <V> Cache<V> cache(Type type) {
        return core.cache(tokens, type);
    }

    Scope scope() {
        return tokens;
    }

    /**
     * Returns the session as text, for a header or a message to another service.
     *
     * @return printable ASCII without spaces; empty if the session has seen nothing
     */
    public String text() {
        return String.join(SEPARATOR, tokens.snapshot());
    }
}
