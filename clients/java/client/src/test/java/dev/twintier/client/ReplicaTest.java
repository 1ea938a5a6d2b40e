package dev.twintier.client;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.twintier.testing.Replica;
import java.io.FileNotFoundException;
import java.time.Duration;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.BooleanSupplier;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.TestInfo;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.function.Executable;

/** The public interface against a real replica. */
@Timeout(120)
class ReplicaTest {
    private static Replica replica;

    private TwintierClient client;

    /** A value. */
    record User(String name, List<String> roles) {
    }

    @BeforeAll
    static void startReplica() throws Exception {
        replica = Replica.start();
    }

    @AfterAll
    static void stopReplica() {
        replica.close();
    }

    @BeforeEach
    void open(TestInfo test) {
        client = builder(test.getTestMethod().orElseThrow().getName().toLowerCase(Locale.ROOT)).build();
    }

    private static TwintierClientBuilder builder(String namespace) {
        return TwintierClient.builder(replica.address()).namespace(namespace).timeout(Duration.ofSeconds(30))
                .strict(true);
    }

    @AfterEach
    void close() {
        client.close();
    }

    @Test
    void writesAndReadsRecords() {
        Cache<User> users = client.cache(User.class);
        User ada = new User("Ada", List.of("admin"));
        assertTrue(users.get("user:1").isMiss());
        assertTrue(users.set("user:1", ada, EntryOptions.ofTtl(Duration.ofMinutes(5)).tags("users")));
        assertEquals(Optional.of(ada), users.get("user:1").toOptional());
        assertTrue(users.touch("user:1", Duration.ofMinutes(9)));
        assertFalse(users.touch("user:2", Duration.ofMinutes(9)));
        assertTrue(users.invalidateTags("users"));
        assertTrue(users.get("user:1").isMiss());
    }

    @Test
    void writesAndReadsManyKeys() {
        Cache<Map<String, Integer>> cache = client.cache(new TypeRef<Map<String, Integer>>() { });
        assertEquals(Set.of("a", "b"), cache.setAll(Map.of("a", Map.of("n", 1), "b", Map.of("n", 2))));
        assertEquals(Map.of("a", Map.of("n", 1), "b", Map.of("n", 2)), cache.getAll(List.of("a", "b", "c")));
        assertTrue(cache.invalidatePrefix("a"));
        assertTrue(cache.invalidatePattern("b*"));
        assertEquals(Map.of(), cache.getAll(List.of("a", "b")));
    }

    @Test
    void negativeEntryIsAbsent() {
        Cache<User> users = client.cache(User.class);
        assertTrue(users.setAbsent("user:1"));
        assertTrue(users.get("user:1").isAbsent());
        AtomicInteger loads = new AtomicInteger();
        assertEquals(Optional.empty(), users.getOrSet("user:2", () -> {
            loads.incrementAndGet();
            return null;
        }));
        assertEquals(Optional.empty(), users.getOrSet("user:2", () -> new User("loaded twice", List.of())));
        assertEquals(1, loads.get());
    }

    @Test
    void loaderRunsInTheCallersThreadAndItsErrorIsUnchanged() {
        Cache<String> cache = client.cache(String.class);
        Thread caller = Thread.currentThread();
        assertEquals(Optional.of("v"), cache.getOrSet("k", () -> {
            assertSame(caller, Thread.currentThread());
            return "v";
        }));
        FileNotFoundException error = new FileNotFoundException("gone");
        assertSame(error, assertThrows(FileNotFoundException.class, () -> cache.getOrSet("other", () -> {
            throw error;
        })));
        assertEquals(1, client.stats().loadFailures());
    }

    @Test
    void loaderThatAsksForItsOwnKeyFails() {
        Cache<String> cache = client.cache(String.class);
        assertThrows(IllegalStateException.class, () ->
                cache.getOrSet("k", () -> cache.getOrSet("k", () -> "inner").orElseThrow()));
    }

    @Test
    void interruptedCallerDoesNotCancelOthers() throws Exception {
        Cache<String> cache = client.cache(String.class);
        CountDownLatch loading = new CountDownLatch(1);
        CountDownLatch gate = new CountDownLatch(1);
        AtomicInteger loads = new AtomicInteger();
        Loader<String, InterruptedException> loader = () -> {
            loads.incrementAndGet();
            loading.countDown();
            gate.await();
            return "v";
        };
        CompletableFuture<Throwable> interrupted = new CompletableFuture<>();
        Thread first = new Thread(() -> {
            try {
                interrupted.complete(new AssertionError(cache.getOrSet("k", loader)));
            } catch (Throwable failure) {
                interrupted.complete(failure);
            }
        });
        first.start();
        loading.await();
        CompletableFuture<Optional<String>> second = cache.async().getOrSet("k", () ->
                CompletableFuture.failedFuture(new AssertionError("shares the first load")));
        first.interrupt();
        assertTrue(interrupted.get(60, TimeUnit.SECONDS) instanceof InterruptedException);
        gate.countDown();
        assertEquals(Optional.of("v"), second.get(60, TimeUnit.SECONDS));
        assertEquals(2, loads.get());
    }

    @Test
    void loadingCacheLoadsWhatIsMissing() {
        LoadingCache<Long, User> users = client.loadingCache(User.class).key(Long.class, "user:{id}")
                .tags(id -> List.of("user:" + id)).options(EntryOptions.ofTtl(Duration.ofMinutes(5)))
                .build(id -> id < 0 ? null : new User("user " + id, List.of()));
        assertNull(users.getIfPresent(1L));
        assertEquals("user 1", users.get(1L).name());
        assertEquals("user 1", users.getIfPresent(1L).name());
        assertNull(users.get(-1L));
        assertEquals(Set.of(1L, 2L), users.getAll(List.of(1L, 2L, -1L)).keySet());
        assertEquals(Set.of(1L, 2L, 3L), users.async().getAll(List.of(1L, 2L, 3L, -1L)).join().keySet());
        client.cache(User.class).invalidateTags("user:1");
        assertNull(users.getIfPresent(1L));
        users.put(4L, new User("put", List.of()));
        assertEquals("put", users.in(client.session()).get(4L).name());
        assertEquals("user 4", users.refresh(4L).name());
        users.invalidateAll(List.of(2L, 3L));
        assertEquals(Set.of(4L), users.getAllPresent(List.of(2L, 3L, 4L)).keySet());
    }

    @Test
    void loadingCacheWrapsCheckedErrorsAsCaffeineDoes() {
        LoadingCache<String, User> users = client.loadingCache(User.class).key(String.class, "user:{id}")
                .build(id -> {
                    throw new FileNotFoundException(id);
                });
        CompletionException failure = assertThrows(CompletionException.class, () -> users.get("a"));
        assertTrue(failure.getCause() instanceof FileNotFoundException);
    }

    @Test
    void sessionGoesToAnotherClientAsText() {
        Session session = client.session();
        session.cache(String.class).set("k", "mine");
        assertFalse(session.text().isEmpty());
        assertEquals("mine", client.session(session.text()).cache(String.class).get("k").get());
        assertThrows(IllegalArgumentException.class, () -> client.session("a,".repeat(17)));
    }

    @Test
    void nearCacheAnswersAndDropsWhatOthersChange() throws Exception {
        try (TwintierClient near = builder("near").nearCache(
                new NearCacheOptions(1 << 20, Duration.ofSeconds(60))).build();
                TwintierClient other = builder("near").build()) {
            Cache<String> cache = near.cache(String.class);
            cache.set("k", "v1");
            until(() -> cache.get("k").get().equals("v1") && near.stats().nearHits() > 0);
            other.cache(String.class).set("k", "v2");
            until(() -> cache.get("k").get().equals("v2"));
            cache.set("k", "v3");
            assertEquals("v3", cache.get("k").get());
        }
    }

    @Test
    void withoutTheServiceItFailsOpenUnlessStrict() throws Exception {
        try (Replica dying = Replica.start();
                TwintierClient open = TwintierClient.builder(dying.address()).timeout(Duration.ofSeconds(2)).build()) {
            Cache<String> cache = open.cache(String.class);
            dying.kill();
            assertTrue(cache.get("k").isMiss());
            assertFalse(cache.set("k", "v"));
            assertEquals(Optional.of("loaded"), cache.getOrSet("k", () -> "loaded"));
            TwintierException failure = assertThrows(TwintierException.class, () ->
                    cache.with(EntryOptions.none().strict(true)).get("k"));
            assertEquals(TwintierException.Kind.UNAVAILABLE, failure.kind());
            assertEquals(1, open.stats().breakerOpened());
            assertTrue(open.stats().breakerSkipped() > 0);
        }
    }

    @Test
    void backgroundWritesAreDoneWhenTheClientIsClosed() {
        Cache<Integer> cache = client.cache(Integer.class);
        for (int n = 0; n < 50; n++) {
            cache.setLater("k", n);
        }
        assertTrue(client.close(Duration.ofSeconds(60)));
        assertThrows(TwintierException.class, () -> cache.setLater("k", 1));
        try (TwintierClient next = builder("backgroundwritesaredonewhentheclientisclosed").build()) {
            assertEquals(49, next.cache(Integer.class).get("k").get());
        }
    }

    @Test
    void wrongArgumentsNameFieldAndValue() {
        Cache<String> cache = client.cache(String.class);
        assertMessage("key: must not be empty", () -> cache.get(""));
        assertMessage("ttl: must be at least PT0.001S, was PT0S", () -> EntryOptions.ofTtl(Duration.ZERO));
        assertMessage("jitter: must be from 0 to 0.5, was 0.7", () -> EntryOptions.none().jitter(0.7));
        assertMessage("address: must be host:port, was nonsense",
                () -> TwintierClient.builder("nonsense", "localhost:1").build());
    }

    private static void assertMessage(String message, Executable call) {
        String actual = assertThrows(IllegalArgumentException.class, call).getMessage();
        assertTrue(actual.startsWith(message), actual);
    }

    private static void until(BooleanSupplier condition) throws InterruptedException {
        long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(60);
        while (!condition.getAsBoolean()) {
            assertTrue(System.nanoTime() < end, "the condition did not come true");
            Thread.sleep(20);
        }
    }
}
