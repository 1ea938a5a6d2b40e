package dev.twintier.client;

import java.util.List;
import java.util.concurrent.CompletableFuture;

/** Tokens that calls present and bring back: those of a session, or none. */
interface Scope {
    /** Scope without tokens. */
    Scope NONE = new Scope() {
        private final CompletableFuture<List<String>> none = CompletableFuture.completedFuture(List.of());

        @Override
        public CompletableFuture<List<String>> begin() {
            return none;
        }

        @Override
        public void end(List<String> sent, String token) {
            // Nothing is kept.
        }
    };

    /** Begins a call, and returns the tokens that it presents. */
    CompletableFuture<List<String>> begin();

    /**
     * Ends a call.
     *
     * @param sent the tokens that it presented
     * @param token the token of the answer, which takes their place; empty to drop them; null to keep them
     */
    void end(List<String> sent, String token);
}
