package dev.twintier.conformance;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.twintier.client.Cache;
import dev.twintier.client.CacheSource;
import dev.twintier.client.ClientStats;
import dev.twintier.client.Session;
import dev.twintier.client.TwintierClient;
import dev.twintier.client.TwintierClientBuilder;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ExecutorService;
import java.util.function.Consumer;

/** Operations of the suite. */
final class Operations {
    private static final ObjectMapper MAPPER = new ObjectMapper();

    private final CacheCalls calls;
    private final ExecutorService tasks;
    private final Loaders loaders = new Loaders();
    private final Map<String, TwintierClient> clients = new ConcurrentHashMap<>();
    private final Map<String, String> serializers = new ConcurrentHashMap<>();
    private final Map<String, Session> sessions = new ConcurrentHashMap<>();
    private final Map<String, String> clientsOfSessions = new ConcurrentHashMap<>();

    Operations(CacheCalls calls, ExecutorService tasks) {
        this.calls = calls;
        this.tasks = tasks;
    }

    void close() {
        clients.values().forEach(TwintierClient::close);
    }

    /** Starts an operation. Tells the call that a cancellation reaches. */
    CompletableFuture<JsonNode> start(JsonNode request, Consumer<CompletableFuture<?>> started) {
        return switch (request.get("op").asText()) {
            case "client" -> done(openClient(request));
            case "session" -> done(openSession(request));
            case "session_text" -> done(node().put("text", sessions.get(text(request, "session")).text()));
            case "close" -> CompletableFuture.supplyAsync(() -> node().put("drained",
                    client(request).close(OptionsReader.duration(request.get("drain")))), tasks);
            case "counters" -> done(counters(client(request).stats()));
            case "open" -> {
                loaders.open(text(request, "gate"));
                yield done(node());
            }
            case "loads" -> done(node()
                    .put("started", loaders.counts(text(request, "loader")).started.get())
                    .put("ended", loaders.counts(text(request, "loader")).ended.get()));
            case "key", "argument_key", "encode", "decode" -> done(Conversions.run(request, node()));
            default -> new OnCache(request, started).start();
        };
    }

    private static CompletableFuture<JsonNode> done(JsonNode result) {
        return CompletableFuture.completedFuture(result);
    }

    private static ObjectNode node() {
        return MAPPER.createObjectNode();
    }

    private static String text(JsonNode request, String field) {
        return request.get(field).asText();
    }

    private TwintierClient client(JsonNode request) {
        return clients.get(text(request, "client"));
    }

    private ObjectNode openClient(JsonNode request) {
        TwintierClientBuilder builder = TwintierClient.builder(OptionsReader.texts(request.get("addresses")));
        OptionsReader.client(builder, request.path("options"));
        clients.put(text(request, "client"), builder.build());
        serializers.put(text(request, "client"), request.path("options").path("serializer").asText("json"));
        return node();
    }

    private ObjectNode openSession(JsonNode request) {
        sessions.put(text(request, "session"), client(request).session(request.path("text").asText("")));
        clientsOfSessions.put(text(request, "session"), text(request, "client"));
        return node();
    }

    private static ObjectNode counters(ClientStats stats) {
        ObjectNode counters = node();
        MAPPER.<ObjectNode>valueToTree(stats).properties().forEach(counter -> counters.set(
                counter.getKey().replaceAll("([A-Z])", "_$1").toLowerCase(Locale.ROOT),
                counter.getValue()));
        return counters;
    }

    /** Operation on a cache. */
    private final class OnCache {
        private final JsonNode request;
        private final Consumer<CompletableFuture<?>> started;
        private final String serializer;
        private final Cache<Object> cache;

        OnCache(JsonNode request, Consumer<CompletableFuture<?>> started) {
            this.request = request;
            this.started = started;
            boolean inSession = request.has("session");
            CacheSource source = inSession ? sessions.get(text(request, "session")) : client(request);
            this.serializer = serializers.get(
                    inSession ? clientsOfSessions.get(text(request, "session")) : text(request, "client"));
            this.cache = source.<Object>cache(Values.type(serializer))
                    .with(OptionsReader.entry(request.path("options")));
        }

        private <T> CompletableFuture<T> running(CompletableFuture<T> call) {
            started.accept(call);
            return call;
        }

        private String key() {
            return text(request, "key");
        }

        private Object value() {
            return Values.fromSuite(request.get("value"), serializer);
        }

        CompletableFuture<JsonNode> start() {
            return switch (text(request, "op")) {
                case "get" -> get();
                case "get_many" -> running(calls.getAll(cache, OptionsReader.texts(request.get("keys"))))
                        .thenApply(found -> node().set("values", object(found)));
                case "set" -> flag("stored", calls.set(cache, key(), value()));
                case "set_many" -> running(calls.setAll(cache, values())).thenApply(stored ->
                        node().set("stored", MAPPER.valueToTree(stored)));
                case "set_absent" -> flag("stored", calls.setAbsent(cache, key()));
                case "touch" -> flag("touched",
                        calls.touch(cache, key(), OptionsReader.duration(request.get("ttl"))));
                case "invalidate" -> flag("done", invalidate());
                case "get_or_set" -> running(getOrSet()).thenApply(OnCache::valueOrAbsent);
                case "get_or_set_many_callers" -> manyCallers();
                case "set_later" -> {
                    cache.setLater(key(), value());
                    yield done(node().put("queued", true));
                }
                case "invalidate_later" -> {
                    cache.invalidateLater(OptionsReader.texts(request.get("keys")).toArray(String[]::new));
                    yield done(node().put("queued", true));
                }
                default -> throw new UnsupportedOperationException("op " + text(request, "op"));
            };
        }

        private CompletableFuture<JsonNode> get() {
            return running(calls.get(cache, key())).thenApply(found -> {
                if (found.isHit()) {
                    return node().put("found", true).put("stale", found.isStale())
                            .set("value", Values.toSuite(found.get()));
                }
                return found.isAbsent() ? node().put("absent", true) : node().put("found", false);
            });
        }

        private static ObjectNode object(Map<String, Object> found) {
            ObjectNode object = node();
            found.forEach((key, value) -> object.set(key, Values.toSuite(value)));
            return object;
        }

        private Map<String, Object> values() {
            Map<String, Object> values = new LinkedHashMap<>();
            request.get("values").properties().forEach(entry ->
                    values.put(entry.getKey(), Values.fromSuite(entry.getValue(), serializer)));
            return values;
        }

        private CompletableFuture<JsonNode> flag(String name, CompletableFuture<Boolean> call) {
            return running(call).thenApply(flag -> node().put(name, flag));
        }

        private CompletableFuture<Boolean> invalidate() {
            if (request.has("keys")) {
                return calls.invalidateKeys(cache, OptionsReader.texts(request.get("keys")));
            }
            if (request.has("tags")) {
                return calls.invalidateTags(cache,
                        OptionsReader.texts(request.get("tags")).toArray(String[]::new));
            }
            if (request.has("prefix")) {
                return calls.invalidatePrefix(cache, text(request, "prefix"));
            }
            if (request.has("pattern")) {
                return calls.invalidatePattern(cache, text(request, "pattern"));
            }
            return calls.invalidateAll(cache);
        }

        private CompletableFuture<Optional<Object>> getOrSet() {
            return calls.getOrSet(cache, key(), () -> loaders.run(request.get("loader"), serializer));
        }

        private static JsonNode valueOrAbsent(Optional<Object> value) {
            return value.<JsonNode>map(found -> node().set("value", Values.toSuite(found)))
                    .orElseGet(() -> node().put("absent", true));
        }

        private CompletableFuture<JsonNode> manyCallers() {
            List<CompletableFuture<Optional<Object>>> callers = new ArrayList<>();
            for (int caller = 0; caller < request.get("callers").asInt(); caller++) {
                callers.add(getOrSet());
            }
            return CompletableFuture.allOf(callers.toArray(CompletableFuture[]::new)).handle((all, failure) -> {
                Set<JsonNode> values = new LinkedHashSet<>();
                callers.stream().filter(caller -> !caller.isCompletedExceptionally())
                        .forEach(caller -> values.add(caller.join().map(Values::toSuite).orElse(null)));
                long errors = callers.stream().filter(CompletableFuture::isCompletedExceptionally).count();
                return node().put("errors", errors).set("values", MAPPER.valueToTree(values));
            });
        }
    }
}
