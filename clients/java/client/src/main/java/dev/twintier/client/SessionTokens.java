package dev.twintier.client;

import dev.twintier.client.TwintierException.Kind;
import java.util.ArrayDeque;
import java.util.Collection;
import java.util.Deque;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Set;
import java.util.concurrent.CompletableFuture;

/**
 * Tokens of a session. A call presents all of them, and the token of its answer takes their place. Each
 * call that runs in parallel adds at most one: with at most 16 calls there are at most 16 tokens, as many
 * as a request may have.
 */
final class SessionTokens implements Scope {
    /** The service's default of {@code limits.tokens}. */
    static final int MAX_TOKENS = 16;
    private static final int MAX_WAITING = 4096;

    private final Set<String> tokens = new LinkedHashSet<>();
    private final Deque<CompletableFuture<List<String>>> waiting = new ArrayDeque<>();
    private int inFlight;

    SessionTokens(Collection<String> tokens) {
        this.tokens.addAll(tokens);
    }

    @Override
    public synchronized CompletableFuture<List<String>> begin() {
        if (inFlight < MAX_TOKENS) {
            inFlight++;
            return CompletableFuture.completedFuture(snapshot());
        }
        if (waiting.size() == MAX_WAITING) {
            return CompletableFuture.failedFuture(new TwintierException(Kind.REJECTED,
                    "session: at most " + MAX_WAITING + " calls may wait for others"));
        }
        CompletableFuture<List<String>> turn = new CompletableFuture<>();
        waiting.addLast(turn);
        return turn;
    }

    @Override
    public void end(List<String> sent, String token) {
        CompletableFuture<List<String>> next;
        List<String> present;
        synchronized (this) {
            if (token != null) {
                sent.forEach(tokens::remove);
            }
            if (token != null && !token.isEmpty()) {
                tokens.add(token);
            }
            next = waiting.pollFirst();
            if (next == null) {
                inFlight--;
                return;
            }
            present = snapshot();
        }
        next.complete(present);
    }

    synchronized List<String> snapshot() {
        return List.copyOf(tokens);
    }
}
