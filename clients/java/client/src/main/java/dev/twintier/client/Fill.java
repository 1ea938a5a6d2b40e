package dev.twintier.client;

import dev.twintier.client.Codec.Payload;
import dev.twintier.client.Hooks.Event;
import dev.twintier.client.Hooks.ReadResult;
import dev.twintier.v1.GetResponse;
import dev.twintier.v1.LeaseOptions;
import dev.twintier.v1.LeaseWait;
import dev.twintier.v1.MissReason;
import dev.twintier.v1.ReleaseLeaseResponse;
import java.time.Duration;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionStage;
import java.util.concurrent.Executor;
import java.util.function.Supplier;

/** One getOrSet: asks with a lease, loads, stores. */
final class Fill<V> {
    private final Core core;
    private final Scope scope;
    private final Codec<V> codec;
    private final String key;
    private final EntryOptions options;
    private final Executor executor;
    private final Supplier<? extends CompletionStage<? extends V>> loader;

    Fill(Core core, Scope scope, Codec<V> codec, String key, EntryOptions options, Executor executor,
            Supplier<? extends CompletionStage<? extends V>> loader) {
        this.core = core;
        this.scope = scope;
        this.codec = codec;
        this.key = key;
        this.options = options;
        this.executor = executor;
        this.loader = loader;
    }

    CompletableFuture<Lookup<V>> start() {
        if (options.consistency() != Consistency.STRONG) {
            return ask(options, LeaseWait.LEASE_WAIT_NONE, options.timeout());
        }
        // A strong read cannot ask for a lease. The read that does presents the token of the strong one.
        Scope seen = scope == Scope.NONE ? new SessionTokens(List.of()) : scope;
        return core.reads.get(seen, key, options)
                .handleAsync((answer, failure) -> {
                    if (failure != null) {
                        return failed(Errors.from(failure));
                    }
                    return answer.hasMiss() ? withScope(seen).askAfterStrong() : answered(answer, true);
                }, executor).thenCompose(next -> next);
    }

    private Fill<V> withScope(Scope other) {
        return new Fill<>(core, other, codec, key, options, executor, loader);
    }

    private CompletableFuture<Lookup<V>> askAfterStrong() {
        return ask(options.consistency(Consistency.BOUNDED), LeaseWait.LEASE_WAIT_NONE, options.timeout());
    }

    private CompletableFuture<Lookup<V>> ask(EntryOptions read, LeaseWait wait, Duration timeout) {
        LeaseOptions.Builder lease = LeaseOptions.newBuilder().setWait(wait);
        if (options.leaseDuration() != null) {
            lease.setDuration(Wire.duration(options.leaseDuration()));
        }
        boolean waited = wait == LeaseWait.LEASE_WAIT_UNTIL_DEADLINE;
        // A first call that accepted a stale value would get it at once.
        EntryOptions own = waited || !read.staleIfError() ? read : read.staleIfError(false);
        return core.reads.get(scope, key, own, lease.build(), timeout)
                .handleAsync((answer, failure) -> {
                    if (failure != null) {
                        return failed(Errors.from(failure));
                    }
                    boolean leased = answer.hasMiss()
                            && answer.getMiss().getReason() == MissReason.MISS_REASON_LEASED;
                    return leased && !waited
                            ? ask(read, LeaseWait.LEASE_WAIT_UNTIL_DEADLINE, options.leaseWait())
                            : answered(answer, false);
                }, executor).thenCompose(next -> next);
    }

    private CompletableFuture<Lookup<V>> failed(TwintierException failure) {
        return options.strict() ? CompletableFuture.failedFuture(failure) : load(Fence.NEVER);
    }

    private CompletableFuture<Lookup<V>> answered(GetResponse answer, boolean strong) {
        if (answer.hasMiss()) {
            return load(Fence.ofLease(answer));
        }
        Lookup<V> found = core.decode(codec, answer);
        if (found.isMiss()) {
            return load(Fence.ofUnreadable(answer));
        }
        core.countRead(found, false);
        if (answer.hasLease() && !strong) {
            refresh(Fence.ofLease(answer));
        }
        return CompletableFuture.completedFuture(found);
    }

    private CompletableFuture<Lookup<V>> load(Fence fence) {
        core.counters.read(ReadResult.MISS);
        return runLoader(fence, false);
    }

    /** Refreshes an entry in the background, if there is room for one more. */
    private void refresh(Fence fence) {
        if (!core.refreshes.tryAcquire()) {
            core.writes.release(key, options, fence.value(), false);
            return;
        }
        core.counters.event(Event.REFRESH);
        core.executor.execute(() -> new Fill<>(core, scope, codec, key, options, core.executor, loader)
                .runLoader(fence, true).whenComplete((found, failure) -> core.refreshes.release()));
    }

    private CompletableFuture<Lookup<V>> runLoader(Fence fence, boolean background) {
        long startedAt = System.nanoTime();
        return call(loader).handleAsync((value, failure) -> {
            Throwable error = failure == null ? null : Errors.unwrap(failure);
            core.counters.load(startedAt, background, error);
            return error == null ? store(value, fence) : loadFailed(error, fence);
        }, executor).thenCompose(next -> next);
    }

    private static <V> CompletableFuture<V> call(Supplier<? extends CompletionStage<? extends V>> loader) {
        try {
            return loader.get().<V>thenApply(value -> value).toCompletableFuture();
        } catch (RuntimeException | Error failure) {
            return CompletableFuture.failedFuture(failure);
        }
    }

    private CompletableFuture<Lookup<V>> store(V value, Fence fence) {
        Lookup<V> loaded = value == null ? Lookup.absent() : Lookup.hit(value, false);
        if (fence.kind() == Fence.Kind.NEVER) {
            return CompletableFuture.completedFuture(loaded);
        }
        Payload payload;
        try {
            payload = value == null ? null : codec.encode(value);
        } catch (RuntimeException failure) {
            release(fence);
            return CompletableFuture.failedFuture(failure);
        }
        return core.writes.set(scope, key, payload, options.strict(true), fence).handle((stored, failure) -> {
            if (failure != null && !Errors.from(failure).isOutage()) {
                // The service refuses the value: the next caller shall not wait for the end of the lease.
                release(fence);
            }
            return loaded;
        });
    }

    private CompletableFuture<Lookup<V>> loadFailed(Throwable error, Fence fence) {
        return release(fence).handleAsync((answer, failure) -> {
            boolean stale = failure == null && answer.hasStale() && options.staleIfError();
            Lookup<V> found = stale ? core.decode(codec, answer.getStale(), true) : Lookup.miss();
            if (found.isMiss()) {
                return CompletableFuture.<Lookup<V>>failedFuture(error);
            }
            core.countRead(found, false);
            return CompletableFuture.completedFuture(found);
        }, executor).thenCompose(next -> next);
    }

    private CompletableFuture<ReleaseLeaseResponse> release(Fence fence) {
        return fence.kind() == Fence.Kind.LEASE ? core.writes.release(key, options, fence.value(), true)
                : CompletableFuture.completedFuture(ReleaseLeaseResponse.getDefaultInstance());
    }
}
