package dev.twintier.client;

/** Required consistency of a read. */
public enum Consistency {
    /** A read reflects every write that was acknowledged more than {@code maxStaleness} ago. */
    BOUNDED,
    /** A read goes to the Redis primary. It fails if Redis is away. */
    STRONG,
    /** A read may return an entry that cannot be proven fresh, however old the proof is. */
    EVENTUAL
}
