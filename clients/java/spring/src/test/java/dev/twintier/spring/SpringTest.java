package dev.twintier.spring;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.twintier.client.TwintierClient;
import dev.twintier.testing.Replica;
import jakarta.servlet.FilterChain;
import java.io.FileNotFoundException;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.springframework.boot.autoconfigure.AutoConfigurations;
import org.springframework.boot.test.context.runner.ApplicationContextRunner;
import org.springframework.boot.test.context.runner.WebApplicationContextRunner;
import org.springframework.cache.Cache;
import org.springframework.cache.CacheManager;
import org.springframework.cache.annotation.CacheEvict;
import org.springframework.cache.annotation.CachePut;
import org.springframework.cache.annotation.Cacheable;
import org.springframework.cache.annotation.EnableCaching;
import org.springframework.cache.support.NoOpCacheManager;
import org.springframework.context.annotation.Bean;
import org.springframework.context.annotation.Configuration;
import org.springframework.mock.web.MockHttpServletRequest;
import org.springframework.mock.web.MockHttpServletResponse;

/** Spring's annotations and the auto-configuration against a real replica. */
@Timeout(180)
class SpringTest {
    private static Replica replica;

    @BeforeAll
    static void startReplica() throws Exception {
        replica = Replica.start();
    }

    @AfterAll
    static void stopReplica() {
        replica.close();
    }

    /** A value. */
    record User(long id, String name) {
    }

    /** Two arguments as one key. */
    record Page(String topic, int number) {
    }

    /** Service with annotated methods. */
    static class Users {
        private final AtomicInteger calls = new AtomicInteger();

        public int count() {
            return calls.get();
        }

        @Cacheable("users")
        public User find(long id) {
            calls.incrementAndGet();
            return id < 0 ? null : new User(id, "user " + id);
        }

        @Cacheable(cacheNames = "users", sync = true)
        public User findOnce(long id) throws FileNotFoundException {
            calls.incrementAndGet();
            if (id == 0) {
                throw new FileNotFoundException("no user 0");
            }
            return new User(id, "user " + id);
        }

        @Cacheable("lists")
        public List<User> list(String role, int page) {
            calls.incrementAndGet();
            return List.of(new User(page, role));
        }

        @Cacheable("futures")
        public CompletableFuture<User> later(long id) {
            calls.incrementAndGet();
            return CompletableFuture.completedFuture(new User(id, "later"));
        }

        @Cacheable("optionals")
        public Optional<User> maybe(long id) {
            calls.incrementAndGet();
            return id < 0 ? Optional.empty() : Optional.of(new User(id, "maybe"));
        }

        @CachePut(cacheNames = "users", key = "#user.id")
        public User rename(User user) {
            return user;
        }

        @CacheEvict("users")
        public void forget(long id) {
            calls.get();
        }

        @CacheEvict(cacheNames = "users", allEntries = true)
        public void forgetAll() {
            calls.get();
        }
    }

    /** Application. */
    @Configuration(proxyBeanMethods = false)
    @EnableCaching
    static class Application {
        @Bean
        Users users() {
            return new Users();
        }
    }

    private static String[] properties(String namespace) {
        return new String[] {"twintier.addresses=" + replica.address(), "twintier.namespace=" + namespace,
            "twintier.timeout=30s", "twintier.strict=true", "twintier.ttl=5m",
            "twintier.caches.users.negative-ttl=1m", "twintier.caches.users.tags=people"};
    }

    private static ApplicationContextRunner application(String namespace) {
        return new ApplicationContextRunner().withConfiguration(AutoConfigurations.of(TwintierAutoConfiguration.class))
                .withUserConfiguration(Application.class).withPropertyValues(properties(namespace));
    }

    @Test
    void annotationsReadAndWriteTypedValues() {
        application("annotations").run(context -> {
            Users users = context.getBean(Users.class);
            assertThat(users.find(1)).isEqualTo(users.find(1)).isEqualTo(new User(1, "user 1"));
            assertThat(users.find(-1)).isNull();
            assertThat(users.find(-1)).isNull();
            assertThat(users.list("admin", 2)).isEqualTo(users.list("admin", 2));
            assertThat(users.count()).isEqualTo(3);
            users.rename(new User(1, "renamed"));
            assertThat(users.find(1).name()).isEqualTo("renamed");
            users.forget(1);
            assertThat(users.find(1).name()).isEqualTo("user 1");
            assertThat(users.count()).isEqualTo(4);
            users.forgetAll();
            users.find(1);
            users.list("admin", 2);
            assertThat(users.count()).isEqualTo(5);
        });
    }

    @Test
    void syncRunsOneLoaderAndKeepsItsException() {
        application("sync").run(context -> {
            Users users = context.getBean(Users.class);
            assertThat(users.findOnce(7)).isEqualTo(users.findOnce(7));
            assertThat(users.count()).isEqualTo(1);
            assertThatThrownBy(() -> users.findOnce(0)).isInstanceOf(FileNotFoundException.class)
                    .hasMessage("no user 0");
        });
    }

    @Test
    void futuresAndOptionalsAreCached() {
        application("futures").run(context -> {
            Users users = context.getBean(Users.class);
            assertThat(users.later(1).join()).isEqualTo(new User(1, "later"));
            assertThat(users.later(1).join()).isEqualTo(new User(1, "later"));
            assertThat(users.maybe(1)).isEqualTo(users.maybe(1)).contains(new User(1, "maybe"));
            assertThat(users.maybe(-1)).isEqualTo(users.maybe(-1)).isEmpty();
            assertThat(users.count()).isEqualTo(3);
        });
    }

    @Test
    void managerAnswersByName() {
        application("manager").run(context -> {
            Cache cache = context.getBean(CacheManager.class).getCache("plain");
            cache.put("k", Map.of("n", 1));
            assertThat((Object) cache.get("k", Map.class)).isEqualTo(Map.of("n", 1));
            assertThat(cache.putIfAbsent("k", "other").get()).isEqualTo(Map.of("n", 1));
            assertThat(cache.putIfAbsent(new Page("a", 1), "new")).isNull();
            assertThat(cache.get(List.of("a", 1))).isNull();
            assertThat(cache.get(new Page("a", 1)).get()).isEqualTo("new");
            assertThatThrownBy(() -> cache.get("k", String.class)).isInstanceOf(IllegalStateException.class);
            assertThatThrownBy(() -> cache.get(new Object())).isInstanceOf(IllegalArgumentException.class)
                    .hasMessageContaining("java.lang.Object");
            assertThat(context.getBean(CacheManager.class).getCacheNames()).contains("plain", "users");
        });
    }

    @Test
    void sessionFilterCarriesTheSessionInItsHeader() {
        new WebApplicationContextRunner().withConfiguration(AutoConfigurations.of(TwintierAutoConfiguration.class))
                .withUserConfiguration(Application.class).withPropertyValues(properties("filter")).run(context -> {
                    TwintierSessionFilter filter = context.getBean(TwintierSessionFilter.class);
                    Users users = context.getBean(Users.class);
                    MockHttpServletResponse first = new MockHttpServletResponse();
                    filter.doFilter(new MockHttpServletRequest(), first, (request, response) -> {
                        users.find(1);
                        response.getWriter().write("body");
                        response.flushBuffer();
                    });
                    String session = first.getHeader(TwintierSessionFilter.HEADER);
                    assertThat(session).isNotEmpty();
                    assertThat(CurrentSession.get()).isEmpty();
                    MockHttpServletRequest next = new MockHttpServletRequest();
                    next.addHeader(TwintierSessionFilter.HEADER, session);
                    FilterChain chain = (request, response) ->
                            assertThat(CurrentSession.get().orElseThrow().text()).isEqualTo(session);
                    filter.doFilter(next, new MockHttpServletResponse(), chain);
                });
    }

    @Test
    void applicationMayHaveItsOwnManagerOrClient() {
        application("own").withBean(CacheManager.class, () -> new NoOpCacheManager())
                .run(context -> {
                    assertThat(context).doesNotHaveBean(TwintierCacheManager.class);
                    assertThat(context).hasSingleBean(TwintierClient.class);
                    assertThat(context.getBean(Users.class).find(1)).isNotNull();
                });
    }
}
