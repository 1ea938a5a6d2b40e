package dev.twintier.conformance;

import java.util.concurrent.ThreadFactory;

/** Threads of the runner. */
final class Threads {
    private Threads() {
    }

    static ThreadFactory daemons(String name) {
        return task -> {
            Thread thread = new Thread(task, name);
            thread.setDaemon(true);
            return thread;
        };
    }
}
