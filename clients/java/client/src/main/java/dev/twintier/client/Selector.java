package dev.twintier.client;

import dev.twintier.v1.WatchChange;
import java.util.Set;
import java.util.function.Predicate;
import java.util.regex.Pattern;

/** Keys that a change may cover. */
record Selector(Object identity, Predicate<String> covers) {
    private static final Selector EVERYTHING = new Selector("*", key -> true);

    static Selector everything() {
        return EVERYTHING;
    }

    static Selector keys(Set<String> keys) {
        return new Selector(keys, keys::contains);
    }

    /** Returns the selector of a change. The tags of entries are not known: a tag may cover any. */
    static Selector of(WatchChange change) {
        return switch (change.getCoversCase()) {
            case KEYS -> keys(Set.copyOf(change.getKeys().getKeysList()));
            case PREFIX -> prefix(change.getPrefix());
            case PATTERN -> pattern(change.getPattern());
            default -> EVERYTHING;
        };
    }

    static Selector prefix(String prefix) {
        String segments = prefix.replaceAll("[:/]+$", "");
        return new Selector("prefix " + prefix, key -> key.startsWith(segments)
                && (key.length() == segments.length() || ":/".indexOf(key.charAt(segments.length())) >= 0));
    }

    static Selector pattern(String glob) {
        StringBuilder regex = new StringBuilder();
        for (int at = 0; at < glob.length(); at++) {
            char c = glob.charAt(at);
            if (c == '*') {
                regex.append(".*");
            } else if (c == '?') {
                regex.append('.');
            } else {
                boolean escape = c == '\\' && at + 1 < glob.length();
                at += escape ? 1 : 0;
                int point = glob.codePointAt(at);
                regex.append(Pattern.quote(Character.toString(point)));
                at += Character.charCount(point) - 1;
            }
        }
        Pattern pattern = Pattern.compile(regex.toString(), Pattern.DOTALL);
        return new Selector("pattern " + glob, key -> pattern.matcher(key).matches());
    }

    /** Returns true for the keys of one entry or a few, which need no scan. */
    boolean isKeys() {
        return identity instanceof Set<?>;
    }

    @SuppressWarnings("unchecked")
    Set<String> keySet() {
        return (Set<String>) identity;
    }
}
