package dev.twintier.client;

/**
 * Counters of a client since it was built.
 *
 * @param hits reads that returned a value, from memory or from the service
 * @param nearHits hits that the near cache answered
 * @param negativeHits reads that returned "absent"
 * @param misses reads that found nothing, unreadable values included
 * @param stale values returned past their end
 * @param loads runs of loaders that ended
 * @param loadFailures runs of loaders that failed
 * @param refreshes loads in the background, of entries that were due for refresh
 * @param shared callers that shared the call of another one
 * @param failures calls of the service that failed
 * @param breakerOpened times the breaker opened
 * @param breakerSkipped calls that the breaker kept from being made
 * @param notStored writes that were not stored: failed, refused or fenced
 * @param unreadable values that could not be decoded
 * @param laterDropped background writes that were dropped because the queue was full
 */
public record ClientStats(long hits, long nearHits, long negativeHits, long misses, long stale, long loads,
        long loadFailures, long refreshes, long shared, long failures, long breakerOpened,
        long breakerSkipped, long notStored, long unreadable, long laterDropped) {
}
