package dev.twintier.client;

import dev.twintier.client.Codec.Payload;
import dev.twintier.client.Hooks.Event;
import dev.twintier.v1.BatchSetRequest;
import dev.twintier.v1.BatchSetResponse;
import dev.twintier.v1.CacheServiceGrpc;
import dev.twintier.v1.KnownAbsent;
import dev.twintier.v1.ReleaseLeaseRequest;
import dev.twintier.v1.ReleaseLeaseResponse;
import dev.twintier.v1.SetOutcome;
import dev.twintier.v1.SetRequest;
import dev.twintier.v1.SetResponse;
import dev.twintier.v1.TouchOutcome;
import dev.twintier.v1.TouchRequest;
import dev.twintier.v1.TouchResponse;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentSkipListSet;

/** Writes of entries. Failures are "not stored" unless the options are strict. */
final class Writes {
    private static final int MAX_BATCH_BYTES = 2 << 20;

    private final Calls calls;
    private final Counters counters;
    private final NearCache near;

    Writes(Calls calls, Counters counters, NearCache near) {
        this.calls = calls;
        this.counters = counters;
        this.near = near;
    }

    /** Writes a value, or a negative entry if the payload is null. */
    CompletableFuture<Boolean> set(Scope scope, String key, Payload payload, EntryOptions options, Fence fence) {
        Arguments.notEmpty("key", key);
        SetRequest.Builder request = item(key, payload, options).setNamespace(options.namespace());
        fence.applyTo(request);
        drop(options, List.of(key));
        CompletableFuture<Boolean> stored = calls.call(CacheServiceGrpc.getSetMethod(), options.timeout(), scope,
                        tokens -> request.clone().addAllTokens(tokens).build(), SetResponse::getToken)
                .thenApply(answer -> answer.getOutcome() == SetOutcome.SET_OUTCOME_STORED);
        return reported(stored, options).whenComplete((done, failure) -> drop(options, List.of(key)));
    }

    private static SetRequest.Builder item(String key, Payload payload, EntryOptions options) {
        SetRequest.Builder item = SetRequest.newBuilder().setKey(key).addAllTags(options.tags());
        if (payload == null) {
            item.setKnownAbsent(KnownAbsent.getDefaultInstance());
        } else {
            item.setValue(payload.bytes()).setContentType(payload.contentType());
        }
        Duration ttl = payload == null ? options.negativeTtl() : options.ttl();
        if (ttl != null) {
            item.setTtl(Wire.duration(ttl));
        }
        if (options.softTtl() != null && payload != null) {
            item.setSoftTtl(Wire.duration(options.softTtl()));
        }
        if (options.jitter() != null) {
            item.setJitter(options.jitter());
        }
        if (options.sourceVersion() != null) {
            item.setSourceVersion(options.sourceVersion());
        }
        return item;
    }

    /** Writes values, and returns the keys that were stored. */
    CompletableFuture<Set<String>> setAll(Scope scope, Map<String, Payload> values, EntryOptions options) {
        List<BatchSetRequest.Builder> batches = batches(values, options);
        Set<String> stored = new ConcurrentSkipListSet<>();
        drop(options, values.keySet());
        List<CompletableFuture<Boolean>> parts = batches.stream()
                .map(batch -> setBatch(scope, batch, options, stored)).toList();
        return CompletableFuture.allOf(parts.toArray(CompletableFuture[]::new)).thenApply(done -> {
            drop(options, values.keySet());
            return new TreeSet<>(stored);
        });
    }

    private static List<BatchSetRequest.Builder> batches(Map<String, Payload> values, EntryOptions options) {
        List<BatchSetRequest.Builder> batches = new ArrayList<>();
        int bytes = 0;
        for (Map.Entry<String, Payload> entry : values.entrySet()) {
            Arguments.notEmpty("key", entry.getKey());
            SetRequest item = item(entry.getKey(), entry.getValue(), options).build();
            BatchSetRequest.Builder last = batches.isEmpty() ? null : batches.get(batches.size() - 1);
            bytes += item.getSerializedSize();
            if (last == null || last.getItemsCount() == Reads.MAX_KEYS || bytes > MAX_BATCH_BYTES) {
                last = BatchSetRequest.newBuilder().setNamespace(options.namespace());
                batches.add(last);
                bytes = item.getSerializedSize();
            }
            last.addItems(item);
        }
        return batches;
    }

    private CompletableFuture<Boolean> setBatch(Scope scope, BatchSetRequest.Builder batch, EntryOptions options,
            Set<String> stored) {
        return calls.call(CacheServiceGrpc.getBatchSetMethod(), options.timeout(), scope,
                        tokens -> batch.clone().addAllTokens(tokens).build(), BatchSetResponse::getToken)
                .thenApply(answer -> {
                    for (int at = 0; at < answer.getResultsCount(); at++) {
                        if (answer.getResults(at).getOutcome() == SetOutcome.SET_OUTCOME_STORED) {
                            stored.add(batch.getItems(at).getKey());
                        } else if (options.strict() && answer.getResults(at).hasError()) {
                            throw BatchReads.error(answer.getResults(at).getError());
                        } else {
                            counters.event(Event.NOT_STORED);
                        }
                    }
                    return true;
                }).handle((done, failure) -> {
                    if (failure != null) {
                        batch.getItemsList().forEach(item -> counters.event(Event.NOT_STORED));
                    }
                    return openUnlessStrict(failure, options);
                });
    }

    CompletableFuture<Boolean> touch(Scope scope, String key, Duration ttl, EntryOptions options) {
        TouchRequest request = TouchRequest.newBuilder().setNamespace(options.namespace())
                .setKey(Arguments.notEmpty("key", key))
                .setTtl(Wire.duration(Arguments.atLeast("ttl", ttl, Arguments.MILLISECOND))).build();
        return calls.call(CacheServiceGrpc.getTouchMethod(), options.timeout(), scope,
                        tokens -> request.toBuilder().addAllTokens(tokens).build(), TouchResponse::getToken)
                .thenApply(answer -> answer.getOutcome() == TouchOutcome.TOUCH_OUTCOME_TOUCHED)
                .handle((touched, failure) -> failure == null ? touched : openUnlessStrict(failure, options));
    }

    /** Returns a lease, so that another caller can load. */
    CompletableFuture<ReleaseLeaseResponse> release(String key, EntryOptions options, String lease,
            boolean failed) {
        return calls.call(CacheServiceGrpc.getReleaseLeaseMethod(), options.timeout(),
                ReleaseLeaseRequest.newBuilder().setNamespace(options.namespace()).setKey(key).setLease(lease)
                        .setFailed(failed).build());
    }

    /** Counts a write that was not stored, and hides its failure unless the options are strict. */
    private CompletableFuture<Boolean> reported(CompletableFuture<Boolean> write, EntryOptions options) {
        return write.handle((stored, failure) -> {
            if (!Boolean.TRUE.equals(stored)) {
                counters.event(Event.NOT_STORED);
            }
            return failure == null ? stored : openUnlessStrict(failure, options);
        });
    }

    static Boolean openUnlessStrict(Throwable failure, EntryOptions options) {
        if (failure != null && options.strict()) {
            throw Errors.from(failure);
        }
        return failure == null;
    }

    private void drop(EntryOptions options, Iterable<String> keys) {
        if (near != null) {
            near.drop(options.namespace(), keys);
        }
    }
}
