package dev.twintier.client;

import com.google.common.util.concurrent.FutureCallback;
import com.google.common.util.concurrent.Futures;
import com.google.common.util.concurrent.MoreExecutors;
import dev.twintier.client.Hooks.Event;
import dev.twintier.client.TwintierException.Kind;
import dev.twintier.v1.GetRequest;
import dev.twintier.v1.LeaseWait;
import io.grpc.CallOptions;
import io.grpc.Channel;
import io.grpc.ManagedChannel;
import io.grpc.MethodDescriptor;
import io.grpc.stub.ClientCalls;
import java.time.Duration;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import java.util.function.Function;

/** Calls of the service: deadline, breaker, tokens, counters. */
final class Calls {
    private final Channel channel;
    private final CallOptions options;
    private final Breaker breaker;
    private final Counters counters;
    private volatile boolean closed;

    Calls(ManagedChannel channel, Breaker breaker, Counters counters) {
        this.channel = channel;
        this.options = CallOptions.DEFAULT.withStreamTracerFactory(new Reconnect(channel::resetConnectBackoff));
        this.breaker = breaker;
        this.counters = counters;
    }

    /**
     * Makes a call with the tokens of a scope. The future completes on a thread of the connection, and
     * fails only with a {@link TwintierException}.
     */
    <Q, A> CompletableFuture<A> call(MethodDescriptor<Q, A> method, Duration timeout, Scope scope,
            Function<List<String>, Q> request, Function<A, String> token) {
        return scope.begin().thenCompose(tokens -> {
            CompletableFuture<A> answer;
            try {
                answer = call(method, timeout, request.apply(tokens));
            } catch (RuntimeException failure) {
                scope.end(tokens, null);
                throw failure;
            }
            return answer.whenComplete((message, failure) ->
                    scope.end(tokens, failure == null ? token.apply(message) : tokenOf(failure)));
        });
    }

    /** Returns "" if the service does not accept the tokens: they are dropped. Else null: they stay. */
    static String tokenOf(Throwable failure) {
        return Errors.isRejectedToken(Errors.from(failure)) ? "" : null;
    }

    /** Makes a call without tokens. */
    <Q, A> CompletableFuture<A> call(MethodDescriptor<Q, A> method, Duration timeout, Q request) {
        boolean breaks = !(request instanceof GetRequest get)
                || get.getLease().getWait() != LeaseWait.LEASE_WAIT_UNTIL_DEADLINE;
        TwintierException refused = refusal();
        if (refused != null) {
            return CompletableFuture.failedFuture(refused);
        }
        long startedAt = System.nanoTime();
        CompletableFuture<A> result = new CompletableFuture<>();
        Futures.addCallback(ClientCalls.futureUnaryCall(channel.newCall(method, options(timeout)), request),
                new FutureCallback<A>() {
                    @Override
                    public void onSuccess(A answer) {
                        succeeded(method.getBareMethodName(), startedAt);
                        result.complete(answer);
                    }

                    @Override
                    public void onFailure(Throwable failure) {
                        result.completeExceptionally(
                                failed(method.getBareMethodName(), startedAt, Errors.from(failure), breaks));
                    }
                }, MoreExecutors.directExecutor());
        return result;
    }

    CallOptions options(Duration timeout) {
        return options.withDeadlineAfter(timeout.toNanos(), TimeUnit.NANOSECONDS);
    }

    /** Returns the reason why no call may be made now, or null. */
    TwintierException refusal() {
        if (closed) {
            return new TwintierException(Kind.CANCELLED, "client is closed");
        }
        if (!breaker.tryAcquire()) {
            counters.event(Event.BREAKER_SKIPPED);
            return new TwintierException(Kind.UNAVAILABLE, "service is away: the breaker is open");
        }
        return null;
    }

    void succeeded(String method, long startedAt) {
        breaker.onSuccess();
        counters.call(method, startedAt, null);
    }

    TwintierException failed(String method, long startedAt, TwintierException failure, boolean counts) {
        counters.call(method, startedAt, failure);
        if (!counts) {
            return failure;
        }
        if (!failure.isOutage()) {
            breaker.onSuccess();
        } else if (breaker.onFailure()) {
            counters.event(Event.BREAKER_OPENED);
        }
        return failure;
    }

    Channel channel() {
        return channel;
    }

    void close() {
        closed = true;
    }
}
