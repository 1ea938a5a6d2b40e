package dev.twintier.client;

import com.github.benmanes.caffeine.cache.Caffeine;
import dev.twintier.v1.EntryInfo;
import dev.twintier.v1.GetResponse;
import java.time.Duration;
import java.util.List;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ConcurrentMap;
import java.util.function.BiFunction;

/**
 * Near cache by the rules of docs/watch.md. A watch of each namespace drops entries and proves the rest.
 * An entry is kept for half of its remaining time to live, so that a read soon sees whether it is due for
 * refresh.
 */
final class NearCache implements AutoCloseable {
    /** Maximum number of namespaces that are watched. Reads of others go to the service. */
    private static final int MAX_NAMESPACES = 16;
    private static final int OVERHEAD_BYTES = 200;

    private final NearCacheOptions options;
    private final BiFunction<String, NearNamespace, Watcher> startWatch;
    private final com.github.benmanes.caffeine.cache.Cache<Key, Entry> entries;
    private final ConcurrentMap<String, NearNamespace> namespaces = new ConcurrentHashMap<>();
    private volatile boolean closed;

    /** Name of an entry. */
    record Key(String namespace, String key) {
    }

    /** An entry, and the end of its life by the monotonic clock. */
    record Entry(GetResponse response, long endsAt) {
    }

    /** A read that may fill the cache. */
    interface Read {
        /** Returns the tokens to present. */
        List<String> tokens();

        /** Takes the answer. */
        void answered(GetResponse response);
    }

    NearCache(NearCacheOptions options, BiFunction<String, NearNamespace, Watcher> startWatch) {
        this.options = options;
        this.startWatch = startWatch;
        this.entries = Caffeine.newBuilder().maximumWeight(options.maxBytes())
                .weigher((Key key, Entry entry) -> weight(key, entry))
                .executor(Runnable::run).build();
    }

    private static int weight(Key key, Entry entry) {
        return OVERHEAD_BYTES + 2 * key.key.length() + entry.response.getSerializedSize();
    }

    /** Returns the answer for a key, or null if it is not kept or not proven. */
    GetResponse get(String namespace, String key, Duration maxStaleness) {
        NearNamespace watched = watched(namespace);
        Entry entry = watched == null ? null : entries.getIfPresent(new Key(namespace, key));
        if (entry == null) {
            return null;
        }
        long now = System.nanoTime();
        long bound = options.maxStaleness().toNanos();
        if (maxStaleness != null) {
            bound = Math.min(bound, maxStaleness.toNanos());
        }
        return now - entry.endsAt < 0 && watched.isProven(now, bound) ? entry.response : null;
    }

    private NearNamespace watched(String namespace) {
        NearNamespace known = namespaces.get(namespace);
        if (known != null || closed) {
            return known;
        }
        synchronized (this) {
            if (closed || (!namespaces.containsKey(namespace) && namespaces.size() >= MAX_NAMESPACES)) {
                return null;
            }
            return namespaces.computeIfAbsent(namespace, name -> new NearNamespace(name, entries, startWatch));
        }
    }

    /** Begins a read that may fill the cache. Returns null while nothing can be kept. */
    Read begin(String namespace, String key) {
        NearNamespace watched = watched(namespace);
        NearNamespace.Position position = watched == null ? null : watched.position();
        if (position == null) {
            return null;
        }
        long startedAt = System.nanoTime();
        return new Read() {
            @Override
            public List<String> tokens() {
                return List.of(position.token());
            }

            @Override
            public void answered(GetResponse response) {
                long life = life(response);
                if (life > 0) {
                    Entry entry = new Entry(kept(response), startedAt + life);
                    watched.keep(new Key(namespace, key), entry, position);
                }
            }
        };
    }

    private static GetResponse kept(GetResponse response) {
        return response.toBuilder().clearToken().clearLease().build();
    }

    /** Returns how long an answer may be kept: 0 for those that may not. */
    private static long life(GetResponse response) {
        EntryInfo entry = switch (response.getResultCase()) {
            case HIT -> response.getHit().getEntry();
            case NEGATIVE_HIT -> response.getNegativeHit().getEntry();
            default -> null;
        };
        if (entry == null || entry.hasStale() || entry.getRefreshDue() || response.getDegraded()) {
            return 0;
        }
        return entry.hasTtl() ? Wire.nanos(entry.getTtl()) / 2 : Duration.ofDays(1).toNanos();
    }

    /** Drops entries that this client changes. */
    void drop(String namespace, Iterable<String> keys) {
        NearNamespace watched = namespaces.get(namespace);
        if (watched != null) {
            watched.drop(keys);
        }
    }

    /** Drops all entries of a namespace. */
    void dropAll(String namespace) {
        NearNamespace watched = namespaces.get(namespace);
        if (watched != null) {
            watched.dropAll();
        }
    }

    @Override
    public void close() {
        synchronized (this) {
            closed = true;
        }
        namespaces.values().forEach(NearNamespace::close);
        entries.invalidateAll();
    }
}
