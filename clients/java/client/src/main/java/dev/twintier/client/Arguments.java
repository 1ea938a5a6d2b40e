package dev.twintier.client;

import java.time.Duration;

/** Checks of arguments. Messages name the field, its value and its limit. */
final class Arguments {
    static final Duration MILLISECOND = Duration.ofMillis(1);

    private Arguments() {
    }

    static Duration atLeast(String field, Duration value, Duration minimum) {
        if (value == null || value.compareTo(minimum) < 0) {
            throw new IllegalArgumentException(field + ": must be at least " + minimum + ", was " + value);
        }
        return value;
    }

    static Duration between(String field, Duration value, Duration minimum, Duration maximum) {
        if (value == null || value.compareTo(minimum) < 0 || value.compareTo(maximum) > 0) {
            throw new IllegalArgumentException(
                    field + ": must be from " + minimum + " to " + maximum + ", was " + value);
        }
        return value;
    }

    static long atLeast(String field, long value, long minimum) {
        if (value < minimum) {
            throw new IllegalArgumentException(field + ": must be at least " + minimum + ", was " + value);
        }
        return value;
    }

    static String notEmpty(String field, String value) {
        if (value == null || value.isEmpty()) {
            throw new IllegalArgumentException(
                    field + ": must not be empty, was " + (value == null ? "null" : "\"\""));
        }
        return value;
    }
}
