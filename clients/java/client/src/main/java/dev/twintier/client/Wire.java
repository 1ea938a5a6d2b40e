package dev.twintier.client;

import com.google.protobuf.Duration;

/** Conversions to and from the types of the contract. */
final class Wire {
    /** An eventual read takes an entry whose proof is this old. */
    private static final java.time.Duration EVENTUAL = java.time.Duration.ofDays(1);

    private Wire() {
    }

    static Duration duration(java.time.Duration duration) {
        return Duration.newBuilder().setSeconds(duration.getSeconds()).setNanos(duration.getNano()).build();
    }

    static long nanos(Duration duration) {
        return duration.getSeconds() * 1_000_000_000L + duration.getNanos();
    }

    static dev.twintier.v1.Consistency consistency(Consistency consistency) {
        if (consistency == null) {
            return dev.twintier.v1.Consistency.CONSISTENCY_UNSPECIFIED;
        }
        return switch (consistency) {
            case STRONG -> dev.twintier.v1.Consistency.CONSISTENCY_STRONG;
            case BOUNDED, EVENTUAL -> dev.twintier.v1.Consistency.CONSISTENCY_BOUNDED;
        };
    }

    static java.time.Duration maxStaleness(EntryOptions options) {
        boolean eventual = options.consistency() == Consistency.EVENTUAL && options.maxStaleness() == null;
        return eventual ? EVENTUAL : options.maxStaleness();
    }
}
