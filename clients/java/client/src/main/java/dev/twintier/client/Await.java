package dev.twintier.client;

import dev.twintier.client.TwintierException.Kind;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;

/** Waits of the synchronous views. */
final class Await {
    private Await() {
    }

    /** Returns the result. Failures are unchecked. */
    static <T> T join(CompletableFuture<T> future) {
        try {
            return future.get();
        } catch (InterruptedException interrupted) {
            throw interrupted(interrupted);
        } catch (ExecutionException failure) {
            if (failure.getCause() instanceof TwintierException known) {
                known.addSuppressed(new CallSite());
                throw known;
            }
            throw Await.<RuntimeException>unchanged(failure.getCause());
        }
    }

    static TwintierException interrupted(InterruptedException cause) {
        Thread.currentThread().interrupt();
        return new TwintierException(Kind.CANCELLED, "", "interrupted while waiting for the cache", cause);
    }

    /** Throws a failure as it is. */
    @SuppressWarnings("unchecked")
    static <E extends Throwable> E unchanged(Throwable failure) throws E {
        throw (E) failure;
    }

    /** Stack trace of the caller, whose call failed on another thread. */
    private static final class CallSite extends Exception {
        private static final long serialVersionUID = 1L;

        CallSite() {
            super("called from");
        }
    }
}
