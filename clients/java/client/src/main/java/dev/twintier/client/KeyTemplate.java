package dev.twintier.client;

import java.math.BigInteger;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.regex.Pattern;

/**
 * Template of keys with names in braces: {@code user:{user_id}:orders}. Values are escaped, so that no
 * value can make another key. Doubled braces stand for braces.
 */
public final class KeyTemplate {
    private static final String UNESCAPED =
            "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._~-";

    private static final Pattern NAME = Pattern.compile("[A-Za-z_][A-Za-z0-9_]*");

    private record Part(boolean isName, String text) {
    }

    private final String template;
    private final List<Part> parts;
    private final Set<String> names;

    private KeyTemplate(String template, List<Part> parts) {
        this.template = template;
        this.parts = List.copyOf(parts);
        this.names = new LinkedHashSet<>();
        parts.stream().filter(Part::isName).forEach(part -> names.add(part.text));
    }

    /**
     * Parses a template.
     *
     * @param template the template
     * @return the template
     * @throws IllegalArgumentException if a brace has no counterpart, or a name is empty
     */
    public static KeyTemplate of(String template) {
        Arguments.notEmpty("template", template);
        List<Part> parts = new ArrayList<>();
        StringBuilder text = new StringBuilder();
        int at = 0;
        while (at < template.length()) {
            char c = template.charAt(at);
            boolean doubled = at + 1 < template.length() && template.charAt(at + 1) == c;
            if ((c == '{' || c == '}') && doubled) {
                text.append(c);
                at += 2;
            } else if (c == '{') {
                int end = template.indexOf('}', at);
                String name = end < 0 ? "" : template.substring(at + 1, end);
                if (!NAME.matcher(name).matches()) {
                    throw new IllegalArgumentException("template: must have a name of letters, digits and _, "
                            + "and '}' after '{' at " + at + ", was " + template);
                }
                addText(parts, text);
                parts.add(new Part(true, name));
                at = end + 1;
            } else if (c == '}') {
                throw new IllegalArgumentException(
                        "template: must have '{' before '}' at " + at + ", was " + template);
            } else {
                text.append(c);
                at++;
            }
        }
        addText(parts, text);
        return new KeyTemplate(template, parts);
    }

    private static void addText(List<Part> parts, StringBuilder text) {
        if (text.length() > 0) {
            parts.add(new Part(false, text.toString()));
            text.setLength(0);
        }
    }

    /**
     * Makes a key.
     *
     * @param values a value for each name: a string, an integer or a boolean
     * @return the key
     * @throws IllegalArgumentException if a name has no value, a value has no name, or a value is of
     *     another type or empty
     */
    public String key(Map<String, ?> values) {
        for (String name : values.keySet()) {
            if (!names.contains(name)) {
                throw new IllegalArgumentException(name + ": must be in the template, was " + template);
            }
        }
        StringBuilder key = new StringBuilder();
        for (Part part : parts) {
            if (!part.isName) {
                key.append(part.text);
            } else if (values.containsKey(part.text)) {
                escape(key, text(part.text, values.get(part.text)));
            } else {
                throw new IllegalArgumentException(part.text + ": must have a value, template is " + template);
            }
        }
        return key.toString();
    }

    /**
     * Makes a key from the value of the only name.
     *
     * @param value the value: a string, an integer or a boolean
     * @return the key
     * @throws IllegalArgumentException if the template has another number of names, or the value is of
     *     another type or empty
     */
    public String keyOf(Object value) {
        if (names.size() != 1) {
            throw new IllegalArgumentException(
                    "template: must have one name, has " + names.size() + ", was " + template);
        }
        StringBuilder key = new StringBuilder();
        for (Part part : parts) {
            if (part.isName) {
                escape(key, text(part.text, value));
            } else {
                key.append(part.text);
            }
        }
        return key.toString();
    }

    private static String text(String name, Object value) {
        boolean integer = value instanceof Long || value instanceof Integer || value instanceof Short
                || value instanceof Byte || value instanceof BigInteger;
        if (integer || value instanceof Boolean || value instanceof String) {
            return Arguments.notEmpty(name, value.toString());
        }
        throw new IllegalArgumentException(name + ": must be a string, an integer or a boolean, was "
                + (value == null ? "null" : value.getClass().getName()));
    }

    private static void escape(StringBuilder key, String value) {
        for (int at = 0; at < value.length(); ) {
            int point = value.codePointAt(at);
            if (point > 0x7F || UNESCAPED.indexOf(point) >= 0) {
                key.appendCodePoint(point);
            } else {
                for (byte b : new String(Character.toChars(point)).getBytes(StandardCharsets.UTF_8)) {
                    key.append('%').append("%02X".formatted(b));
                }
            }
            at += Character.charCount(point);
        }
    }

    @Override
    public String toString() {
        return template;
    }
}
