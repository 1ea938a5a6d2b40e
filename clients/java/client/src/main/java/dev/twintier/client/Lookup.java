package dev.twintier.client;

import java.util.NoSuchElementException;
import java.util.Objects;
import java.util.Optional;
import java.util.function.Function;

/**
 * Result of a read: a value, a negative entry, or a miss.
 *
 * @param <V> type of the value
 */
public final class Lookup<V> {
    private static final Lookup<?> MISS = new Lookup<>(Kind.MISS, null, false);
    private static final Lookup<?> ABSENT = new Lookup<>(Kind.ABSENT, null, false);

    private enum Kind { HIT, ABSENT, MISS }

    private final Kind kind;
    private final V value;
    private final boolean stale;

    private Lookup(Kind kind, V value, boolean stale) {
        this.kind = kind;
        this.value = value;
        this.stale = stale;
    }

    static <V> Lookup<V> hit(V value, boolean stale) {
        return new Lookup<>(Kind.HIT, Objects.requireNonNull(value, "value"), stale);
    }

    @SuppressWarnings("unchecked")
    static <V> Lookup<V> absent() {
        return (Lookup<V>) ABSENT;
    }

    @SuppressWarnings("unchecked")
    static <V> Lookup<V> miss() {
        return (Lookup<V>) MISS;
    }

    /**
     * Returns true if there is a value.
     *
     * @return true if there is a value
     */
    public boolean isHit() {
        return kind == Kind.HIT;
    }

    /**
     * Returns true for a negative entry: the thing is known not to exist.
     *
     * @return true for a negative entry
     */
    public boolean isAbsent() {
        return kind == Kind.ABSENT;
    }

    /**
     * Returns true if the cache knows nothing, or could not be asked.
     *
     * @return true for a miss
     */
    public boolean isMiss() {
        return kind == Kind.MISS;
    }

    /**
     * Returns true if the value is flagged stale: no promise of freshness holds for it.
     *
     * @return true if the value is stale
     */
    public boolean isStale() {
        return stale;
    }

    /**
     * Returns the value, or nothing for a miss and for a negative entry.
     *
     * @return the value
     */
    public Optional<V> toOptional() {
        return Optional.ofNullable(value);
    }

    /**
     * Returns the value.
     *
     * @return the value
     * @throws NoSuchElementException if there is none
     */
    public V get() {
        if (value == null) {
            throw new NoSuchElementException("no value: " + this);
        }
        return value;
    }

    /**
     * Returns the value, or another one if there is none.
     *
     * @param other the value to return if there is none; may be null
     * @return the value, or the other one
     */
    public V orElse(V other) {
        return value != null ? value : other;
    }

    <R> Lookup<R> map(Function<V, R> function) {
        return switch (kind) {
            case HIT -> hit(function.apply(value), stale);
            case ABSENT -> absent();
            case MISS -> miss();
        };
    }

    @Override
    public boolean equals(Object object) {
        return object instanceof Lookup<?> other && kind == other.kind && stale == other.stale
                && Objects.equals(value, other.value);
    }

    @Override
    public int hashCode() {
        return Objects.hash(kind, value, stale);
    }

    @Override
    public String toString() {
        return switch (kind) {
            case HIT -> (stale ? "stale hit: " : "hit: ") + value;
            case ABSENT -> "absent";
            case MISS -> "miss";
        };
    }
}
