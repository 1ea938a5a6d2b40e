package dev.twintier.client;

import com.google.common.collect.Lists;
import dev.twintier.v1.BatchGetItem;
import dev.twintier.v1.BatchGetRequest;
import dev.twintier.v1.BatchGetResponse;
import dev.twintier.v1.CacheServiceGrpc;
import dev.twintier.v1.GetRequest;
import dev.twintier.v1.GetResponse;
import dev.twintier.v1.LeaseOptions;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;

/** Reads of the service, and of the near cache. */
final class Reads {
    /** The service's default of {@code limits.keys}. */
    static final int MAX_KEYS = 1000;

    private final Calls calls;
    private final BatchReads batches;
    private final NearCache near;

    Reads(Calls calls, NearCache near) {
        this.calls = calls;
        this.batches = new BatchReads(calls);
        this.near = near;
    }

    /** Returns the answer of the near cache, or null. */
    GetResponse near(Scope scope, String key, EntryOptions options) {
        boolean allowed = near != null && scope == Scope.NONE && options.consistency() != Consistency.STRONG;
        return allowed ? near.get(options.namespace(), key, options.maxStaleness()) : null;
    }

    CompletableFuture<GetResponse> get(Scope scope, String key, EntryOptions options) {
        return get(scope, key, options, null, options.timeout());
    }

    /** Reads a key, with a lease unless its options are null. */
    CompletableFuture<GetResponse> get(Scope scope, String key, EntryOptions options, LeaseOptions lease,
            Duration timeout) {
        Arguments.notEmpty("key", key);
        NearCache.Read read = near != null && scope == Scope.NONE ? near.begin(options.namespace(), key) : null;
        CompletableFuture<GetResponse> answer = calls.call(CacheServiceGrpc.getGetMethod(), timeout, scope,
                tokens -> request(key, options, lease, read == null ? tokens : read.tokens()),
                GetResponse::getToken);
        return read == null ? answer : answer.whenComplete((response, failure) -> {
            if (failure == null) {
                read.answered(response);
            }
        });
    }

    private static GetRequest request(String key, EntryOptions options, LeaseOptions lease, List<String> tokens) {
        GetRequest.Builder request = GetRequest.newBuilder()
                .setNamespace(options.namespace()).setKey(key)
                .setConsistency(Wire.consistency(options.consistency()))
                .setStaleIfError(options.staleIfError()).addAllTokens(tokens);
        Duration maxStaleness = Wire.maxStaleness(options);
        if (maxStaleness != null) {
            request.setMaxStaleness(Wire.duration(maxStaleness));
        }
        if (lease != null) {
            request.setLease(lease);
        }
        return request.build();
    }

    /** Reads keys. The answers have an item for each key that could be read. */
    CompletableFuture<Map<String, BatchGetItem>> getAll(Scope scope, Collection<String> keys,
            EntryOptions options) {
        List<String> distinct = new ArrayList<>(new HashSet<>(keys));
        distinct.forEach(key -> Arguments.notEmpty("key", key));
        List<CompletableFuture<Map<String, BatchGetItem>>> parts = Lists.partition(distinct, MAX_KEYS).stream()
                .map(part -> getPart(scope, part, options)).toList();
        return CompletableFuture.allOf(parts.toArray(CompletableFuture[]::new)).thenApply(done -> {
            Map<String, BatchGetItem> items = new LinkedHashMap<>();
            parts.forEach(part -> items.putAll(part.join()));
            return items;
        });
    }

    private CompletableFuture<Map<String, BatchGetItem>> getPart(Scope scope, List<String> keys,
            EntryOptions options) {
        return scope.begin().thenCompose(tokens -> batches.call(request(keys, options, tokens), options.timeout())
                .whenComplete((messages, failure) -> scope.end(tokens,
                        failure == null ? messages.get(messages.size() - 1).getToken() : Calls.tokenOf(failure)))
                .thenApply(messages -> items(keys, messages)));
    }

    private static BatchGetRequest request(List<String> keys, EntryOptions options, List<String> tokens) {
        BatchGetRequest.Builder request = BatchGetRequest.newBuilder()
                .setNamespace(options.namespace()).addAllKeys(keys)
                .setConsistency(Wire.consistency(options.consistency())).addAllTokens(tokens);
        Duration maxStaleness = Wire.maxStaleness(options);
        if (maxStaleness != null) {
            request.setMaxStaleness(Wire.duration(maxStaleness));
        }
        return request.build();
    }

    private static Map<String, BatchGetItem> items(List<String> keys, List<BatchGetResponse> messages) {
        Map<String, BatchGetItem> items = new LinkedHashMap<>();
        messages.forEach(message -> message.getItemsList()
                .forEach(item -> items.put(keys.get(item.getIndex()), item)));
        return items;
    }
}
