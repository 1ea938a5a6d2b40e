package dev.twintier.client;

import java.time.Duration;

/**
 * Observer of a client. Methods run on the client's threads, also on those of the connection: they must
 * return quickly, must not block and must not call the client.
 */
public interface Hooks {
    /** Result of a read. */
    enum ReadResult {
        /** A value from the service. */
        HIT,
        /** A value from the near cache. */
        NEAR_HIT,
        /** A negative entry. */
        NEGATIVE_HIT,
        /** A value past its end. */
        STALE_HIT,
        /** Nothing. */
        MISS
    }

    /** Event that is only counted. */
    enum Event {
        /** A caller shared the call of another one. */
        SHARED,
        /** A load in the background began. */
        REFRESH,
        /** A write was not stored. */
        NOT_STORED,
        /** A value could not be decoded. */
        UNREADABLE,
        /** The breaker opened. */
        BREAKER_OPENED,
        /** The breaker kept a call from being made. */
        BREAKER_SKIPPED,
        /** A background write was dropped because the queue was full. */
        LATER_DROPPED
    }

    /**
     * Reports a read.
     *
     * @param result the result
     */
    default void onRead(ReadResult result) {
    }

    /**
     * Reports the end of a loader.
     *
     * @param time its duration
     * @param background true if it refreshed an entry while callers had an older value
     * @param failure its error, or null
     */
    default void onLoad(Duration time, boolean background, Throwable failure) {
    }

    /**
     * Reports the end of a call of the service.
     *
     * @param method name of the method, such as {@code Get}
     * @param time duration of the call
     * @param failure the error, or null
     */
    default void onCall(String method, Duration time, TwintierException failure) {
    }

    /**
     * Reports an event.
     *
     * @param event the event
     */
    default void onEvent(Event event) {
    }
}
