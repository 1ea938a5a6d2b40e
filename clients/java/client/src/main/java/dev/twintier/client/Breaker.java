package dev.twintier.client;

import java.util.function.LongSupplier;

/**
 * Breaker of calls. Opens after three outages in a row. While it is open, one call per second is a
 * probe. The first success closes it.
 */
final class Breaker {
    private static final int FAILURES_TO_OPEN = 3;
    private static final long PROBE_INTERVAL_NANOS = 1_000_000_000L;

    private final LongSupplier nanoTime;
    private int failures;
    private long probeAt;

    Breaker(LongSupplier nanoTime) {
        this.nanoTime = nanoTime;
    }

    /** Returns true if a call may be made. */
    synchronized boolean tryAcquire() {
        if (failures < FAILURES_TO_OPEN) {
            return true;
        }
        long now = nanoTime.getAsLong();
        if (now - probeAt < 0) {
            return false;
        }
        probeAt = now + PROBE_INTERVAL_NANOS;
        return true;
    }

    synchronized void onSuccess() {
        failures = 0;
    }

    /** Returns true if the breaker opens by this failure. */
    synchronized boolean onFailure() {
        failures++;
        if (failures != FAILURES_TO_OPEN) {
            return false;
        }
        probeAt = nanoTime.getAsLong() + PROBE_INTERVAL_NANOS;
        return true;
    }
}
