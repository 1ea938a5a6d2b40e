package dev.twintier.client;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.SerializationFeature;
import com.fasterxml.jackson.databind.json.JsonMapper;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.HexFormat;
import org.erdtman.jcs.JsonCanonicalizer;

/**
 * Keys from the arguments of a function: {@code prefix:} and the first 32 hex digits of the SHA-256 of
 * their canonical JSON (RFC 8785). The same in every language.
 */
public final class ArgumentKeys {
    private static final ObjectMapper MAPPER = JsonMapper.builder().findAndAddModules()
            .enable(SerializationFeature.FAIL_ON_EMPTY_BEANS).build();
    private static final double MAX_INTEGER = (1L << 53) - 1;
    /** From here on a floating-point number is written with an exponent, and not as an integer. */
    private static final double MIN_EXPONENT = 1e21;
    private static final int BYTES = 16;

    private ArgumentKeys() {
    }

    /**
     * Makes a key from arguments.
     *
     * @param prefix the prefix, not empty
     * @param arguments the arguments: a list, a map, or whatever Jackson writes as JSON
     * @return the key
     * @throws IllegalArgumentException if the arguments cannot be written as JSON
     */
    public static String key(String prefix, Object arguments) {
        Arguments.notEmpty("prefix", prefix);
        return prefix + ":" + hash(arguments);
    }

    private static String hash(Object arguments) {
        try {
            JsonNode tree = MAPPER.valueToTree(arguments);
            checkNumbers(tree);
            String json = MAPPER.writeValueAsString(tree);
            // The canonicalizer takes an object or an array. A value is canonical inside of an array as well.
            String canonical = new JsonCanonicalizer("[" + json + "]").getEncodedString();
            byte[] bytes = canonical.substring(1, canonical.length() - 1)
                    .getBytes(StandardCharsets.UTF_8);
            byte[] digest = MessageDigest.getInstance("SHA-256").digest(bytes);
            return HexFormat.of().formatHex(digest, 0, BYTES);
        } catch (IOException | IllegalArgumentException failure) {
            throw new IllegalArgumentException(
                    "arguments: cannot be written as JSON: " + failure.getMessage(), failure);
        } catch (NoSuchAlgorithmException impossible) {
            throw new IllegalStateException("SHA-256 is missing", impossible);
        }
    }

    /** Refuses integers that JSON numbers cannot tell apart. */
    private static void checkNumbers(JsonNode node) {
        boolean large = node.isNumber() && Math.abs(node.doubleValue()) > MAX_INTEGER;
        if (large && (node.isIntegralNumber() || Math.abs(node.doubleValue()) < MIN_EXPONENT)) {
            throw new IllegalArgumentException("an integer must be from -(2^53 - 1) to 2^53 - 1, was " + node);
        }
        node.forEach(ArgumentKeys::checkNumbers);
    }
}
