package dev.twintier.client;

import dev.twintier.client.Hooks.Event;
import java.time.Duration;
import java.util.ArrayDeque;
import java.util.Deque;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.Executor;
import java.util.function.Supplier;

/**
 * Background writes. One is in flight at a time, so that they keep their order. When the queue is full
 * its oldest write is dropped.
 */
final class LaterQueue {
    private final int capacity;
    private final Executor executor;
    private final Counters counters;
    private final Deque<Supplier<CompletableFuture<Boolean>>> waiting = new ArrayDeque<>();
    private boolean running;
    private boolean closed;
    private boolean lost;

    LaterQueue(int capacity, Executor executor, Counters counters) {
        this.capacity = capacity;
        this.executor = executor;
        this.counters = counters;
    }

    synchronized void add(Supplier<CompletableFuture<Boolean>> write) {
        if (closed) {
            throw new TwintierException(TwintierException.Kind.CANCELLED, "client is closed");
        }
        if (waiting.size() == capacity) {
            waiting.removeFirst();
            counters.event(Event.LATER_DROPPED);
        }
        waiting.addLast(write);
        if (!running) {
            running = true;
            executor.execute(this::next);
        }
    }

    private void next() {
        Supplier<CompletableFuture<Boolean>> write;
        synchronized (this) {
            write = waiting.pollFirst();
            if (write == null) {
                running = false;
                notifyAll();
                return;
            }
        }
        write.get().whenComplete((done, failure) -> {
            if (!Boolean.TRUE.equals(done)) {
                noteLost();
            }
            executor.execute(this::next);
        });
    }

    private synchronized void noteLost() {
        lost |= closed;
    }

    /** Takes no more writes, and waits for those that are queued. Returns false if some were lost. */
    synchronized boolean close(Duration limit) throws InterruptedException {
        closed = true;
        long end = System.nanoTime() + limit.toNanos();
        while (running) {
            long left = (end - System.nanoTime()) / 1_000_000;
            if (left <= 0) {
                waiting.forEach(write -> counters.event(Event.LATER_DROPPED));
                waiting.clear();
                return false;
            }
            wait(left);
        }
        return !lost;
    }
}
