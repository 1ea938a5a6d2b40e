package dev.twintier.client;

import java.time.Duration;

/**
 * Options of the near cache: entries in the client's own memory, dropped when the service reports a
 * change.
 *
 * @param maxBytes maximum bytes of keys and values
 * @param maxStaleness maximum staleness of an answer from it; an older proof lets reads go to the service
 */
public record NearCacheOptions(long maxBytes, Duration maxStaleness) {
    /**
     * Checks the options.
     *
     * @param maxBytes at least 1
     * @param maxStaleness 200 ms to 1 hour
     */
    public NearCacheOptions {
        Arguments.atLeast("maxBytes", maxBytes, 1);
        Arguments.between("maxStaleness", maxStaleness, Duration.ofMillis(200), Duration.ofHours(1));
    }

    /**
     * Returns options with a maximum staleness of 2 s.
     *
     * @param maxBytes maximum bytes of keys and values
     * @return the options
     */
    public static NearCacheOptions ofMaxBytes(long maxBytes) {
        return new NearCacheOptions(maxBytes, Duration.ofSeconds(2));
    }
}
