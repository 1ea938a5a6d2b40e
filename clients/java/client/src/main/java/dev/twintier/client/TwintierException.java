package dev.twintier.client;

/** Failure of a call of the service. Thrown only where {@code strict} is set, and by cancelled calls. */
public final class TwintierException extends RuntimeException {
    private static final long serialVersionUID = 1L;

    /** Kind of a failure. */
    public enum Kind {
        /** The service cannot be reached, or a replica cannot serve the call. */
        UNAVAILABLE,
        /** The deadline passed. */
        DEADLINE,
        /** The service refuses the request. */
        REJECTED,
        /** The credential is missing or not accepted. */
        UNAUTHENTICATED,
        /** No grant of the caller allows the request. */
        DENIED,
        /** The caller was interrupted or cancelled, or the client is closed. */
        CANCELLED,
        /** A value cannot be decoded. */
        UNREADABLE
    }

    /** Kind of the failure. */
    private final Kind kind;
    /** Reason that the service gave. */
    private final String reason;

    TwintierException(Kind kind, String reason, String message, Throwable cause) {
        super(message, cause);
        this.kind = kind;
        this.reason = reason;
    }

    TwintierException(Kind kind, String message) {
        this(kind, "", message, null);
    }

    /**
     * Returns the kind of the failure.
     *
     * @return the kind
     */
    public Kind kind() {
        return kind;
    }

    /**
     * Returns the reason that the service gave, such as {@code L2_UNAVAILABLE}.
     *
     * @return the reason, or an empty text
     */
    public String reason() {
        return reason;
    }

    /**
     * Returns true if the breaker counts the failure. A replica without Redis, and one that leaves, has
     * answered: it still has hits in memory.
     */
    boolean isOutage() {
        boolean answered = reason.equals("L2_UNAVAILABLE") || reason.equals("LEAVING");
        return kind == Kind.DEADLINE || (kind == Kind.UNAVAILABLE && !answered);
    }
}
