package dev.twintier.client;

import java.time.Duration;
import java.util.Collection;
import java.util.EnumMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;

/**
 * Options of reads and writes. Immutable: each method returns changed options. An option that is not
 * set is the service's default, or that of the client.
 *
 * <pre>{@code
 * EntryOptions.ofTtl(Duration.ofMinutes(5)).tags("user:42").staleIfError(true)
 * }</pre>
 */
public final class EntryOptions {
    private static final Duration DEFAULT_LEASE_WAIT = Duration.ofSeconds(10);
    private static final EntryOptions NONE = new EntryOptions(new EnumMap<>(Option.class));

    private enum Option {
        TTL, SOFT_TTL, TAGS, SOURCE_VERSION, NEGATIVE_TTL, JITTER, STALE_IF_ERROR, MAX_STALENESS,
        CONSISTENCY, NAMESPACE, STRICT, TIMEOUT, LEASE_DURATION, LEASE_WAIT
    }

    private final Map<Option, Object> values;

    private EntryOptions(Map<Option, Object> values) {
        this.values = values;
    }

    /**
     * Returns options of which none is set.
     *
     * @return options of which none is set
     */
    public static EntryOptions none() {
        return NONE;
    }

    /**
     * Returns options with a time to live.
     *
     * @param ttl time to live of a written entry
     * @return the options
     */
    public static EntryOptions ofTtl(Duration ttl) {
        return NONE.ttl(ttl);
    }

    /**
     * Sets the time to live of a written entry.
     *
     * @param ttl at least 1 ms
     * @return the changed options
     */
    public EntryOptions ttl(Duration ttl) {
        return with(Option.TTL, Arguments.atLeast("ttl", ttl, Arguments.MILLISECOND));
    }

    /**
     * Sets the soft time to live: after it an entry is refreshed in the background when it is read.
     *
     * @param softTtl at least 1 ms, and less than the time to live
     * @return the changed options
     */
    public EntryOptions softTtl(Duration softTtl) {
        return with(Option.SOFT_TTL, Arguments.atLeast("softTtl", softTtl, Arguments.MILLISECOND));
    }

    /**
     * Sets the tags by which an entry can be invalidated.
     *
     * @param tags tags, none of them empty
     * @return the changed options
     */
    public EntryOptions tags(String... tags) {
        return tags(List.of(tags));
    }

    /**
     * Sets the tags by which an entry can be invalidated.
     *
     * @param tags tags, none of them empty
     * @return the changed options
     */
    public EntryOptions tags(Collection<String> tags) {
        tags.forEach(tag -> Arguments.notEmpty("tag", tag));
        return with(Option.TAGS, List.copyOf(tags));
    }

    /**
     * Sets the version of the value's source, such as a column of a database row that grows with every
     * change. An older version never replaces a newer one.
     *
     * @param version the version, as an unsigned number
     * @return the changed options
     */
    public EntryOptions sourceVersion(long version) {
        return with(Option.SOURCE_VERSION, version);
    }

    /**
     * Sets the time to live of a negative entry.
     *
     * @param negativeTtl at least 1 ms
     * @return the changed options
     */
    public EntryOptions negativeTtl(Duration negativeTtl) {
        return with(Option.NEGATIVE_TTL,
                Arguments.atLeast("negativeTtl", negativeTtl, Arguments.MILLISECOND));
    }

    /**
     * Sets the maximum random share by which the time to live is shortened.
     *
     * @param jitter 0 to 0.5
     * @return the changed options
     */
    public EntryOptions jitter(double jitter) {
        if (!(jitter >= 0 && jitter <= 0.5)) {
            throw new IllegalArgumentException("jitter: must be from 0 to 0.5, was " + jitter);
        }
        return with(Option.JITTER, jitter);
    }

    /**
     * Accepts a stale value if the entry cannot be loaded. Needs a namespace that keeps stale entries.
     *
     * @param staleIfError true to accept it
     * @return the changed options
     */
    public EntryOptions staleIfError(boolean staleIfError) {
        return with(Option.STALE_IF_ERROR, staleIfError);
    }

    /**
     * Sets the maximum staleness of an answer.
     *
     * @param maxStaleness zero or more
     * @return the changed options
     */
    public EntryOptions maxStaleness(Duration maxStaleness) {
        return with(Option.MAX_STALENESS, Arguments.atLeast("maxStaleness", maxStaleness, Duration.ZERO));
    }

    /**
     * Sets the required consistency of a read.
     *
     * @param consistency the consistency
     * @return the changed options
     */
    public EntryOptions consistency(Consistency consistency) {
        return with(Option.CONSISTENCY, consistency);
    }

    /**
     * Sets the namespace in place of the client's.
     *
     * @param namespace the namespace, not empty
     * @return the changed options
     */
    public EntryOptions namespace(String namespace) {
        return with(Option.NAMESPACE, Arguments.notEmpty("namespace", namespace));
    }

    /**
     * Sets whether failures of the service are errors. Otherwise reads miss and writes are not stored.
     *
     * @param strict true for errors
     * @return the changed options
     */
    public EntryOptions strict(boolean strict) {
        return with(Option.STRICT, strict);
    }

    /**
     * Sets the deadline of a call, the wait for a lease excepted.
     *
     * @param timeout at least 1 ms
     * @return the changed options
     */
    public EntryOptions timeout(Duration timeout) {
        return with(Option.TIMEOUT, Arguments.atLeast("timeout", timeout, Arguments.MILLISECOND));
    }

    /**
     * Sets the duration of leases: the time in which a value can surely be loaded.
     *
     * @param duration 10 ms to 5 minutes
     * @return the changed options
     */
    public EntryOptions leaseDuration(Duration duration) {
        return with(Option.LEASE_DURATION,
                Arguments.between("leaseDuration", duration, Duration.ofMillis(10), Duration.ofMinutes(5)));
    }

    /**
     * Sets the longest wait for the loader of another process. Afterwards the own loader runs.
     * The default is the duration of leases if that is set, else 10 s.
     *
     * @param wait at least 1 ms
     * @return the changed options
     */
    public EntryOptions leaseWait(Duration wait) {
        return with(Option.LEASE_WAIT, Arguments.atLeast("leaseWait", wait, Arguments.MILLISECOND));
    }

    /**
     * Returns these options. Those that are not set come from others.
     *
     * @param defaults the others
     * @return the merged options
     */
    public EntryOptions over(EntryOptions defaults) {
        if (values.isEmpty()) {
            return defaults;
        }
        if (defaults.values.isEmpty()) {
            return this;
        }
        Map<Option, Object> merged = new EnumMap<>(defaults.values);
        merged.putAll(values);
        return new EntryOptions(merged);
    }

    private EntryOptions with(Option option, Object value) {
        Objects.requireNonNull(value, () -> option.name());
        Map<Option, Object> changed = new EnumMap<>(values);
        changed.put(option, value);
        return new EntryOptions(changed);
    }

    private Duration duration(Option option) {
        return (Duration) values.get(option);
    }

    Duration ttl() {
        return duration(Option.TTL);
    }

    Duration softTtl() {
        return duration(Option.SOFT_TTL);
    }

    @SuppressWarnings("unchecked")
    List<String> tags() {
        return (List<String>) values.getOrDefault(Option.TAGS, List.of());
    }

    Long sourceVersion() {
        return (Long) values.get(Option.SOURCE_VERSION);
    }

    Duration negativeTtl() {
        return duration(Option.NEGATIVE_TTL);
    }

    Double jitter() {
        return (Double) values.get(Option.JITTER);
    }

    boolean staleIfError() {
        return Boolean.TRUE.equals(values.get(Option.STALE_IF_ERROR));
    }

    Duration maxStaleness() {
        return duration(Option.MAX_STALENESS);
    }

    Consistency consistency() {
        return (Consistency) values.get(Option.CONSISTENCY);
    }

    String namespace() {
        return (String) values.get(Option.NAMESPACE);
    }

    boolean strict() {
        return Boolean.TRUE.equals(values.get(Option.STRICT));
    }

    Duration timeout() {
        return duration(Option.TIMEOUT);
    }

    Duration leaseDuration() {
        return duration(Option.LEASE_DURATION);
    }

    Duration leaseWait() {
        Duration wait = duration(Option.LEASE_WAIT);
        return wait != null ? wait : Objects.requireNonNullElse(leaseDuration(), DEFAULT_LEASE_WAIT);
    }

    @Override
    public boolean equals(Object object) {
        return object instanceof EntryOptions other && values.equals(other.values);
    }

    @Override
    public int hashCode() {
        return values.hashCode();
    }

    @Override
    public String toString() {
        return "EntryOptions" + values;
    }
}
