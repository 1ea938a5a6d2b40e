package dev.twintier.client;

import dev.twintier.client.NearCache.Entry;
import dev.twintier.client.NearCache.Key;
import dev.twintier.v1.WatchHeartbeat;
import java.util.ArrayDeque;
import java.util.Deque;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.function.BiFunction;

/** Entries of one namespace in the near cache, and what its watch has proven. */
final class NearNamespace {
    /** Changes that are remembered for reads under way. A read that began before all of them fills nothing. */
    private static final int MAX_REMEMBERED = 1024;

    private final String name;
    private final com.github.benmanes.caffeine.cache.Cache<Key, Entry> entries;
    private final Watcher watch;
    private final Deque<Selector> changes = new ArrayDeque<>();
    private long changesSeen;
    private long kept;
    private Object lastScan;
    private long keptAtLastScan;
    private Position position;
    private volatile Proof proof;

    /** What a read presents, and from which change on it is checked. */
    record Position(String token, long changesSeen) {
    }

    /** Proof of a heartbeat: when it was sent at the latest, and the age of what it proves. */
    private record Proof(long sentAt, long ageNanos) {
    }

    NearNamespace(String name, com.github.benmanes.caffeine.cache.Cache<Key, Entry> entries,
            BiFunction<String, NearNamespace, Watcher> startWatch) {
        this.name = name;
        this.entries = entries;
        this.watch = startWatch.apply(name, this);
    }

    /** Returns true if the entries are at most this much out of date. */
    boolean isProven(long now, long boundNanos) {
        Proof known = proof;
        return known != null && known.ageNanos + (now - known.sentAt) <= boundNanos;
    }

    /** Returns the position of the last heartbeat, or null while nothing can be kept. */
    synchronized Position position() {
        return position;
    }

    /** Takes a heartbeat of the watch that was called at this time. */
    synchronized void onHeartbeat(WatchHeartbeat heartbeat, long calledAt) {
        position = new Position(heartbeat.getToken(), changesSeen);
        if (heartbeat.hasProofAge()) {
            proof = new Proof(calledAt + Wire.nanos(heartbeat.getElapsed()),
                    Wire.nanos(heartbeat.getProofAge()));
        }
    }

    /** Takes a change of the watch, or of this client. */
    synchronized void onChange(Selector selector) {
        changesSeen++;
        changes.addLast(selector);
        if (changes.size() > MAX_REMEMBERED) {
            changes.removeFirst();
        }
        if (selector.isKeys()) {
            selector.keySet().forEach(key -> entries.invalidate(new Key(name, key)));
        } else if (!selector.identity().equals(lastScan) || keptAtLastScan != kept) {
            // A selector comes once for each partition: one scan is enough.
            entries.asMap().keySet().removeIf(
                    key -> key.namespace().equals(name) && selector.covers().test(key.key()));
            lastScan = selector.identity();
            keptAtLastScan = kept;
        }
    }

    /** Drops everything: changes may have been missed. Nothing is kept before the next heartbeat. */
    synchronized void onDiscontinuity() {
        position = null;
        proof = null;
        onChange(Selector.everything());
    }

    void drop(Iterable<String> keys) {
        Set<String> set = new HashSet<>();
        keys.forEach(set::add);
        onChange(Selector.keys(set));
    }

    void dropAll() {
        onChange(Selector.everything());
    }

    /** Keeps an entry that was read at a position, unless a change covered it meanwhile. */
    synchronized void keep(Key key, Entry entry, Position readAt) {
        long after = changesSeen - readAt.changesSeen;
        if (position == null || after > changes.size() || isCovered(key.key(), after)) {
            return;
        }
        entries.put(key, entry);
        kept++;
    }

    private boolean isCovered(String key, long lastChanges) {
        List<Selector> recent = List.copyOf(changes).subList((int) (changes.size() - lastChanges), changes.size());
        return recent.stream().anyMatch(selector -> selector.covers().test(key));
    }

    void close() {
        watch.close();
    }
}
