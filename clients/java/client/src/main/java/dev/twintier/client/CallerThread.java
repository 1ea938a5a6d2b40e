package dev.twintier.client;

import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Executor;
import java.util.concurrent.LinkedBlockingQueue;

/**
 * Executor of a caller that waits: its tasks run in the caller's own thread. If the caller leaves, the
 * tasks go on elsewhere, so that others who wait for them are not affected.
 */
final class CallerThread implements Executor {
    private final Executor fallback;
    private final BlockingQueue<Runnable> tasks = new LinkedBlockingQueue<>();
    private boolean left;
    private InterruptedException interruption;

    CallerThread(Executor fallback) {
        this.fallback = fallback;
    }

    @Override
    public void execute(Runnable task) {
        synchronized (this) {
            if (!left) {
                tasks.add(task);
                return;
            }
        }
        fallback.execute(task);
    }

    /** Runs tasks until the future is done. */
    <T> T await(CompletableFuture<T> future) throws InterruptedException, ExecutionException {
        try {
            if (!future.isDone()) {
                future.whenComplete((result, failure) -> execute(CallerThread::wake));
            }
            while (!future.isDone()) {
                tasks.take().run();
                if (interruption != null) {
                    throw interruption;
                }
            }
            return future.get();
        } finally {
            leave();
        }
    }

    /** Ends the wait after the task that calls this. */
    void interrupt(InterruptedException cause) {
        interruption = cause;
    }

    /** Wakes the caller, who then sees that the future is done. */
    private static void wake() {
        // The wait for a task has ended: that is all.
    }

    private synchronized void leave() {
        left = true;
        tasks.forEach(fallback::execute);
        tasks.clear();
    }
}
