package dev.twintier.spring;

import java.lang.reflect.Method;
import java.lang.reflect.Type;
import java.util.Collection;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.CompletionStage;
import org.springframework.cache.Cache;
import org.springframework.cache.interceptor.CacheOperationInvocationContext;
import org.springframework.cache.interceptor.CacheResolver;
import org.springframework.core.ResolvableType;

/** Resolver of caches, for values of the type that the annotated method returns. */
public final class TwintierCacheResolver implements CacheResolver {
    private final TwintierCacheManager manager;

    /**
     * Creates a resolver.
     *
     * @param manager the manager of the caches
     */
    public TwintierCacheResolver(TwintierCacheManager manager) {
        this.manager = manager;
    }

    @Override
    public Collection<? extends Cache> resolveCaches(CacheOperationInvocationContext<?> context) {
        Type type = valueType(context.getMethod(), context.getTarget().getClass());
        List<Cache> caches = context.getOperation().getCacheNames().stream()
                .map(name -> manager.getCache(name, type)).toList();
        if (caches.isEmpty()) {
            throw new IllegalStateException("cacheNames: must not be empty at " + context.getMethod());
        }
        return caches;
    }

    private static Type valueType(Method method, Class<?> target) {
        ResolvableType type = ResolvableType.forMethodReturnType(method, target);
        Class<?> raw = type.toClass();
        if (CompletionStage.class.isAssignableFrom(raw) || raw == Optional.class) {
            type = type.getGeneric(0);
        }
        return type.toClass() == void.class || type.toClass() == Void.class ? Object.class : type.getType();
    }
}
