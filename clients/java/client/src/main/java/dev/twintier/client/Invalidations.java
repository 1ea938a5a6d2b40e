package dev.twintier.client;

import com.google.common.collect.Lists;
import dev.twintier.client.Hooks.Event;
import dev.twintier.v1.CacheServiceGrpc;
import dev.twintier.v1.InvalidateRequest;
import dev.twintier.v1.InvalidateResponse;
import dev.twintier.v1.Keys;
import dev.twintier.v1.Tags;
import dev.twintier.v1.WholeNamespace;
import java.util.Collection;
import java.util.List;
import java.util.concurrent.CompletableFuture;

/** Removals of entries. */
final class Invalidations {
    private final Calls calls;
    private final Counters counters;
    private final NearCache near;

    Invalidations(Calls calls, Counters counters, NearCache near) {
        this.calls = calls;
        this.counters = counters;
        this.near = near;
    }

    CompletableFuture<Boolean> keys(Scope scope, Collection<String> keys, EntryOptions options) {
        keys.forEach(key -> Arguments.notEmpty("key", key));
        List<CompletableFuture<Boolean>> parts = Lists.partition(List.copyOf(keys), Reads.MAX_KEYS).stream()
                .map(part -> call(scope, InvalidateRequest.newBuilder()
                        .setKeys(Keys.newBuilder().addAllKeys(part)), part, options)).toList();
        return CompletableFuture.allOf(parts.toArray(CompletableFuture[]::new))
                .thenApply(done -> parts.stream().allMatch(CompletableFuture::join));
    }

    CompletableFuture<Boolean> tags(Scope scope, List<String> tags, EntryOptions options) {
        tags.forEach(tag -> Arguments.notEmpty("tag", tag));
        return call(scope, InvalidateRequest.newBuilder().setTags(Tags.newBuilder().addAllTags(tags)), null,
                options);
    }

    CompletableFuture<Boolean> prefix(Scope scope, String prefix, EntryOptions options) {
        return call(scope, InvalidateRequest.newBuilder().setPrefix(Arguments.notEmpty("prefix", prefix)), null,
                options);
    }

    CompletableFuture<Boolean> pattern(Scope scope, String pattern, EntryOptions options) {
        return call(scope, InvalidateRequest.newBuilder().setPattern(Arguments.notEmpty("pattern", pattern)),
                null, options);
    }

    CompletableFuture<Boolean> all(Scope scope, EntryOptions options) {
        return call(scope, InvalidateRequest.newBuilder()
                .setWholeNamespace(WholeNamespace.getDefaultInstance()), null, options);
    }

    private CompletableFuture<Boolean> call(Scope scope, InvalidateRequest.Builder request, List<String> keys,
            EntryOptions options) {
        request.setNamespace(options.namespace());
        if (options.sourceVersion() != null && keys != null && keys.size() == 1) {
            request.setKey(keys.get(0)).setSourceVersion(options.sourceVersion());
        }
        drop(options.namespace(), keys);
        return calls.call(CacheServiceGrpc.getInvalidateMethod(), options.timeout(), scope,
                tokens -> request.clone().addAllTokens(tokens).build(), InvalidateResponse::getToken)
                .handle((answer, failure) -> {
                    drop(options.namespace(), keys);
                    if (failure != null) {
                        counters.event(Event.NOT_STORED);
                    }
                    return Writes.openUnlessStrict(failure, options);
                });
    }

    private void drop(String namespace, List<String> keys) {
        if (near == null) {
            return;
        }
        if (keys == null) {
            near.dropAll(namespace);
        } else {
            near.drop(namespace, keys);
        }
    }
}
