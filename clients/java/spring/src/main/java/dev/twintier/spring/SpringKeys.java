package dev.twintier.spring;

import dev.twintier.client.ArgumentKeys;
import dev.twintier.client.KeyTemplate;
import java.math.BigInteger;
import java.util.Collection;
import java.util.List;
import java.util.Map;
import java.util.UUID;
import org.springframework.cache.interceptor.SimpleKey;

/** Keys of entries from the keys of Spring's cache abstraction: {@code cache:key}. */
final class SpringKeys {
    private final String prefix;
    private final KeyTemplate template;

    SpringKeys(String cacheName) {
        this.prefix = KeyTemplate.of("{cache}").keyOf(cacheName);
        this.template = KeyTemplate.of(prefix.replace("{", "{{").replace("}", "}}") + ":{key}");
    }

    String prefix() {
        return prefix;
    }

    String key(Object key) {
        if ((key instanceof String text && text.isEmpty()) || key == SimpleKey.EMPTY) {
            return ArgumentKeys.key(prefix, List.of());
        }
        if (key instanceof String || key instanceof Boolean || isInteger(key)) {
            return template.keyOf(key);
        }
        if (key instanceof Enum<?> constant) {
            return template.keyOf(constant.name());
        }
        if (key instanceof UUID || key instanceof Character) {
            return template.keyOf(key.toString());
        }
        if (key instanceof Collection<?> || key instanceof Map<?, ?> || key instanceof Record) {
            return ArgumentKeys.key(prefix, key);
        }
        throw new IllegalArgumentException("key: must be a string, an integer, a boolean, an enum, a UUID, a list, "
                + "a map or a record, was " + key.getClass().getName()
                + "; TwintierKeyGenerator makes lists of several arguments");
    }

    private static boolean isInteger(Object key) {
        return key instanceof Long || key instanceof Integer || key instanceof Short || key instanceof Byte
                || key instanceof BigInteger;
    }
}
