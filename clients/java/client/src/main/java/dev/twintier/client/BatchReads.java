package dev.twintier.client;

import dev.twintier.client.TwintierException.Kind;
import dev.twintier.v1.BatchGetRequest;
import dev.twintier.v1.BatchGetResponse;
import dev.twintier.v1.CacheServiceGrpc;
import dev.twintier.v1.ItemError;
import io.grpc.Status;
import io.grpc.stub.ClientCalls;
import io.grpc.stub.StreamObserver;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;

/** Calls of BatchGet, whose answer is a stream of a few messages. */
final class BatchReads {
    private static final String METHOD = "BatchGet";

    private final Calls calls;

    BatchReads(Calls calls) {
        this.calls = calls;
    }

    CompletableFuture<List<BatchGetResponse>> call(BatchGetRequest request, Duration timeout) {
        TwintierException refused = calls.refusal();
        if (refused != null) {
            return CompletableFuture.failedFuture(refused);
        }
        long startedAt = System.nanoTime();
        CompletableFuture<List<BatchGetResponse>> result = new CompletableFuture<>();
        ClientCalls.asyncServerStreamingCall(
                calls.channel().newCall(CacheServiceGrpc.getBatchGetMethod(), calls.options(timeout)), request,
                new StreamObserver<BatchGetResponse>() {
                    private final List<BatchGetResponse> messages = new ArrayList<>();

                    @Override
                    public void onNext(BatchGetResponse message) {
                        messages.add(message);
                    }

                    @Override
                    public void onError(Throwable failure) {
                        result.completeExceptionally(calls.failed(METHOD, startedAt, Errors.from(failure), true));
                    }

                    @Override
                    public void onCompleted() {
                        if (messages.isEmpty()) {
                            onError(Status.INTERNAL.withDescription("no message").asRuntimeException());
                            return;
                        }
                        calls.succeeded(METHOD, startedAt);
                        result.complete(messages);
                    }
                });
        return result;
    }

    /** Returns the error of an item. */
    static TwintierException error(ItemError error) {
        Kind kind = Errors.kind(Status.fromCodeValue(error.getCode()).getCode());
        return new TwintierException(kind, error.getMessage());
    }
}
