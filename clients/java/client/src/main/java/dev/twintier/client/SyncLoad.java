package dev.twintier.client;

import dev.twintier.client.Flights.Flight;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.Executor;

/**
 * Loader of a synchronous caller. It runs in the caller's thread. If the caller is interrupted while
 * others wait for its value, it runs once more for them.
 */
final class SyncLoad<V> {
    private final Loader<? extends V, ?> loader;
    private final CallerThread caller;
    private final Executor executor;
    private volatile InterruptedException interruption;

    SyncLoad(Loader<? extends V, ?> loader, CallerThread caller, Executor executor) {
        this.loader = loader;
        this.caller = caller;
        this.executor = executor;
    }

    /** Returns the loader's own interruption, or null. */
    InterruptedException interruption() {
        return interruption;
    }

    CompletableFuture<V> run(Flight<V> flight) {
        flight.loadingIn(Thread.currentThread());
        try {
            return CompletableFuture.completedFuture(loader.load());
        } catch (Exception | Error failure) {
            if (failure instanceof InterruptedException own && flight.isShared() && interruption == null) {
                return runForOthers(flight, own);
            }
            return CompletableFuture.failedFuture(failure);
        } finally {
            flight.loadingIn(null);
        }
    }

    private CompletableFuture<V> runForOthers(Flight<V> flight, InterruptedException own) {
        interruption = own;
        caller.interrupt(own);
        return CompletableFuture.supplyAsync(() -> run(flight), executor).thenCompose(again -> again);
    }
}
