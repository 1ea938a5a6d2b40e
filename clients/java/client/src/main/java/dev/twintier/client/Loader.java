package dev.twintier.client;

/**
 * Loader of one value.
 *
 * @param <V> type of the value
 * @param <E> type of its checked exception, if it has one
 */
@FunctionalInterface
public interface Loader<V, E extends Exception> {
    /**
     * Loads the value from its source.
     *
     * @return the value, or null if the thing does not exist: stored as a negative entry
     * @throws E if it cannot be loaded
     */
    V load() throws E;
}
