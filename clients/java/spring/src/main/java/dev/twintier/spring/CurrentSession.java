package dev.twintier.spring;

import dev.twintier.client.Session;
import java.util.Optional;

/** Session of the request that the current thread handles. */
public final class CurrentSession {
    private static final ThreadLocal<Session> CURRENT = new ThreadLocal<>();

    private CurrentSession() {
    }

    /**
     * Returns the session of the current thread.
     *
     * @return the session, or nothing outside of a request
     */
    public static Optional<Session> get() {
        return Optional.ofNullable(CURRENT.get());
    }

    /**
     * Binds a session to the current thread.
     *
     * @param session the session
     * @return its end: restores what was bound before, in the same thread
     */
    public static Binding bind(Session session) {
        Session before = CURRENT.get();
        CURRENT.set(session);
        return () -> {
            if (before == null) {
                CURRENT.remove();
            } else {
                CURRENT.set(before);
            }
        };
    }

    /** Binding of a session to a thread. */
    public interface Binding extends AutoCloseable {
        @Override
        void close();
    }
}
