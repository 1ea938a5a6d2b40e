package dev.twintier.spring;

import dev.twintier.client.EntryOptions;
import dev.twintier.client.NearCacheOptions;
import dev.twintier.client.TwintierClient;
import dev.twintier.client.TwintierClientBuilder;
import dev.twintier.client.opentelemetry.OpenTelemetryHooks;
import dev.twintier.client.opentelemetry.TraceContextInterceptor;
import io.opentelemetry.api.OpenTelemetry;
import jakarta.servlet.Filter;
import java.util.LinkedHashMap;
import java.util.Map;
import org.springframework.beans.factory.ObjectProvider;
import org.springframework.boot.autoconfigure.AutoConfiguration;
import org.springframework.boot.autoconfigure.condition.ConditionalOnBean;
import org.springframework.boot.autoconfigure.condition.ConditionalOnClass;
import org.springframework.boot.autoconfigure.condition.ConditionalOnMissingBean;
import org.springframework.boot.autoconfigure.condition.ConditionalOnProperty;
import org.springframework.boot.autoconfigure.condition.ConditionalOnWebApplication;
import org.springframework.boot.context.properties.EnableConfigurationProperties;
import org.springframework.cache.CacheManager;
import org.springframework.cache.annotation.CachingConfigurer;
import org.springframework.cache.interceptor.CacheResolver;
import org.springframework.cache.interceptor.KeyGenerator;
import org.springframework.context.annotation.Bean;
import org.springframework.context.annotation.Configuration;
import org.springframework.web.filter.OncePerRequestFilter;

/**
 * Auto-configuration for Spring Boot: a client by the properties {@code twintier.*}, a cache manager unless the
 * application has one, and the session filter in a servlet application.
 */
@AutoConfiguration(beforeName = {
    "org.springframework.boot.cache.autoconfigure.CacheAutoConfiguration",
    "org.springframework.boot.autoconfigure.cache.CacheAutoConfiguration"})
@EnableConfigurationProperties(TwintierProperties.class)
public class TwintierAutoConfiguration {
    /** Creates the configuration. */
    public TwintierAutoConfiguration() {
    }

    @Bean(destroyMethod = "close")
    @ConditionalOnMissingBean
    TwintierClient twintierClient(TwintierProperties properties,
            ObjectProvider<TwintierClientCustomizer> customizers) {
        TwintierClientBuilder builder = TwintierClient.builder(properties.addresses())
                .namespace(properties.namespace()).timeout(properties.timeout()).strict(properties.strict());
        if (properties.tokenFile() != null) {
            builder.tokenFile(properties.tokenFile());
        }
        if (properties.nearCache() != null) {
            builder.nearCache(new NearCacheOptions(properties.nearCache().maxSize().toBytes(),
                    properties.nearCache().maxStaleness()));
        }
        secure(builder, properties.tls());
        customizers.orderedStream().forEach(customizer -> customizer.customize(builder));
        return builder.build();
    }

    private static void secure(TwintierClientBuilder builder, TwintierProperties.Tls tls) {
        if (tls.enabled()) {
            builder.tls();
        }
        if (tls.caFile() != null) {
            builder.caFile(tls.caFile());
        }
        if (tls.certFile() != null) {
            builder.clientCertificate(tls.certFile(), tls.keyFile());
        }
    }

    @Bean
    @ConditionalOnMissingBean(CacheManager.class)
    TwintierCacheManager cacheManager(TwintierClient client, TwintierProperties properties) {
        Map<String, CacheSettings> settings = new LinkedHashMap<>();
        properties.caches().forEach((name, entries) -> settings.put(name, CacheSettings.of(entries.options())));
        EntryOptions defaults =
                properties.ttl() == null ? EntryOptions.none() : EntryOptions.ofTtl(properties.ttl());
        return new TwintierCacheManager(client, defaults, settings);
    }

    @Bean
    @ConditionalOnBean(TwintierCacheManager.class)
    @ConditionalOnMissingBean(CachingConfigurer.class)
    CachingConfigurer twintierCachingConfigurer(TwintierCacheManager manager) {
        return new CachingConfigurer() {
            @Override
            public CacheManager cacheManager() {
                return manager;
            }

            @Override
            public CacheResolver cacheResolver() {
                return new TwintierCacheResolver(manager);
            }

            @Override
            public KeyGenerator keyGenerator() {
                return new TwintierKeyGenerator();
            }
        };
    }

    /** Session filter of a servlet application. */
    @Configuration(proxyBeanMethods = false)
    @ConditionalOnClass({Filter.class, OncePerRequestFilter.class})
    @ConditionalOnWebApplication(type = ConditionalOnWebApplication.Type.SERVLET)
    @ConditionalOnProperty(name = "twintier.session-filter", matchIfMissing = true)
    static class SessionFilterConfiguration {
        @Bean
        @ConditionalOnMissingBean
        TwintierSessionFilter twintierSessionFilter(TwintierClient client) {
            return new TwintierSessionFilter(client);
        }
    }

    /** Metrics and trace context, if the application has OpenTelemetry. */
    @Configuration(proxyBeanMethods = false)
    @ConditionalOnClass(OpenTelemetry.class)
    static class OpenTelemetryConfiguration {
        @Bean
        TwintierClientCustomizer twintierOpenTelemetryCustomizer(ObjectProvider<OpenTelemetry> openTelemetry) {
            return builder -> openTelemetry.ifAvailable(present -> builder
                    .hooks(new OpenTelemetryHooks(present))
                    .interceptor(new TraceContextInterceptor(present)));
        }
    }
}
