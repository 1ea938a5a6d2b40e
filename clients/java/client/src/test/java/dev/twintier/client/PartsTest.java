package dev.twintier.client;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.Executors;
import java.util.concurrent.atomic.AtomicLong;
import org.junit.jupiter.api.Test;

/** Parts that need no service. */
class PartsTest {
    @Test
    void templatesEscapeValues() {
        KeyTemplate template = KeyTemplate.of("user:{user_id}:{{x}}:{part}");
        assertEquals("user:a%3Ab:{x}:7", template.key(Map.of("user_id", "a:b", "part", 7)));
        assertThrows(IllegalArgumentException.class, () -> template.key(Map.of("user_id", "a")));
        assertThrows(IllegalArgumentException.class, () -> template.keyOf("a"));
        assertThrows(IllegalArgumentException.class, () -> KeyTemplate.of("user:{}"));
        assertThrows(IllegalArgumentException.class, () -> KeyTemplate.of("user:}"));
        assertThrows(IllegalArgumentException.class, () -> KeyTemplate.of("{a}").keyOf(1.5));
    }

    @Test
    void argumentKeysDoNotDependOnTheOrderOfFields() {
        assertEquals(ArgumentKeys.key("f", Map.of("a", 1, "b", 2)), ArgumentKeys.key("f", Map.of("b", 2, "a", 1)));
        assertThrows(IllegalArgumentException.class, () -> ArgumentKeys.key("f", List.of(1L << 53)));
        assertThrows(IllegalArgumentException.class, () -> ArgumentKeys.key("f", List.of(new Object())));
    }

    @Test
    void breakerOpensAfterThreeFailuresAndProbesEverySecond() {
        AtomicLong now = new AtomicLong();
        Breaker breaker = new Breaker(now::get);
        assertFalse(breaker.onFailure());
        assertFalse(breaker.onFailure());
        assertTrue(breaker.tryAcquire());
        assertTrue(breaker.onFailure());
        assertFalse(breaker.tryAcquire());
        now.addAndGet(Duration.ofSeconds(1).toNanos());
        assertTrue(breaker.tryAcquire());
        assertFalse(breaker.tryAcquire());
        breaker.onSuccess();
        assertTrue(breaker.tryAcquire());
    }

    @Test
    void sessionHasNoMoreTokensThanCallsInFlight() {
        SessionTokens tokens = new SessionTokens(List.of("first"));
        List<CompletableFuture<List<String>>> calls = new ArrayList<>();
        for (int call = 0; call < 20; call++) {
            calls.add(tokens.begin());
        }
        assertEquals(16, calls.stream().filter(CompletableFuture::isDone).count());
        for (int call = 0; call < 20; call++) {
            tokens.end(calls.get(call).join(), "t" + call);
            assertTrue(tokens.snapshot().size() <= 16);
        }
        assertTrue(tokens.snapshot().contains("t19"));
        assertFalse(tokens.snapshot().contains("first"));
        List<String> sent = tokens.begin().join();
        tokens.end(sent, "");
        assertEquals(List.of(), tokens.snapshot());
    }

    @Test
    void fullQueueDropsItsOldestWrite() throws Exception {
        Counters counters = new Counters(List.of());
        LaterQueue queue = new LaterQueue(2, Runnable::run, counters);
        List<Integer> done = new ArrayList<>();
        CompletableFuture<Boolean> blocked = new CompletableFuture<>();
        queue.add(() -> blocked);
        for (int write = 0; write < 4; write++) {
            int number = write;
            queue.add(() -> {
                done.add(number);
                return CompletableFuture.completedFuture(true);
            });
        }
        assertEquals(2, counters.snapshot().laterDropped());
        blocked.complete(true);
        assertEquals(List.of(2, 3), done);
        assertTrue(queue.close(Duration.ofSeconds(30)));
    }

    @Test
    void closeReportsWritesThatAreNotDone() throws Exception {
        Counters counters = new Counters(List.of());
        LaterQueue queue = new LaterQueue(2, Executors.newSingleThreadExecutor(), counters);
        queue.add(CompletableFuture::new);
        queue.add(() -> CompletableFuture.completedFuture(true));
        assertFalse(queue.close(Duration.ofMillis(1)));
    }

    @Test
    void selectorsCoverWhatTheServiceCovers() {
        assertTrue(Selector.prefix("user:42").covers().test("user:42"));
        assertTrue(Selector.prefix("user:42:").covers().test("user:42/name"));
        assertFalse(Selector.prefix("user:42").covers().test("user:421"));
        assertTrue(Selector.pattern("a*c?").covers().test("abbcd"));
        assertFalse(Selector.pattern("a*c?").covers().test("abbc"));
        assertTrue(Selector.pattern("a\\*[x]").covers().test("a*[x]"));
        assertFalse(Selector.pattern("a\\*").covers().test("ab"));
    }

    @Test
    void serializersRefuseOtherContent() throws Exception {
        JsonSerializer json = new JsonSerializer();
        byte[] bytes = json.serialize(Map.of("a", 1));
        assertEquals(Map.of("a", 1), json.deserialize(bytes, "application/json; charset=utf-8", Map.class));
        assertThrows(IOException.class, () -> json.deserialize(bytes, "application/msgpack", Map.class));
        assertThrows(IOException.class, () -> json.deserialize("1 2".getBytes(StandardCharsets.UTF_8), Integer.class));
        assertThrows(IOException.class, () -> json.deserialize("null".getBytes(StandardCharsets.UTF_8), String.class));
        MsgpackSerializer msgpack = new MsgpackSerializer();
        assertEquals(List.of(1, 2), msgpack.deserialize(msgpack.serialize(List.of(1, 2)), List.class));
    }

    @Test
    void optionsAreMerged() {
        EntryOptions merged = EntryOptions.none().strict(true).over(EntryOptions.ofTtl(Duration.ofSeconds(5)));
        assertEquals(EntryOptions.ofTtl(Duration.ofSeconds(5)).strict(true), merged);
    }
}
