package dev.twintier.spring;

import java.lang.reflect.Method;
import java.util.Arrays;
import java.util.Collections;
import org.springframework.cache.interceptor.KeyGenerator;
import org.springframework.cache.interceptor.SimpleKey;

/**
 * Generator of keys: the argument itself if there is one, else the list of the arguments. Keys do not contain
 * the method, as those of Spring's own generator.
 */
public final class TwintierKeyGenerator implements KeyGenerator {
    /** Creates a generator. */
    public TwintierKeyGenerator() {
    }

    @Override
    public Object generate(Object target, Method method, Object... params) {
        if (params.length == 0) {
            return SimpleKey.EMPTY;
        }
        return params.length == 1 && params[0] != null ? params[0]
                : Collections.unmodifiableList(Arrays.asList(params.clone()));
    }
}
