package dev.twintier.conformance;

import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.twintier.client.TwintierException;
import java.util.Locale;
import java.util.concurrent.CancellationException;
import java.util.concurrent.CompletionException;

/** Kinds of errors, as the suite names them. */
final class ErrorKinds {
    private ErrorKinds() {
    }

    /** Error of a loader. */
    static final class LoaderException extends Exception {
        private static final long serialVersionUID = 1L;

        LoaderException(String message) {
            super(message);
        }
    }

    /** Error of a conversion. */
    static final class UnreadableException extends RuntimeException {
        private static final long serialVersionUID = 1L;

        UnreadableException(Throwable cause) {
            super(cause.getMessage(), cause);
        }
    }

    static ObjectNode describe(Throwable failure, ObjectNode error) {
        Throwable cause = failure;
        while (cause instanceof CompletionException && cause.getCause() != null) {
            cause = cause.getCause();
        }
        String kind = kind(cause);
        if (kind.equals("internal")) {
            cause.printStackTrace();
        }
        return error.put("kind", kind).put("message", String.valueOf(cause.getMessage()));
    }

    private static String kind(Throwable cause) {
        if (cause instanceof LoaderException) {
            return "loader";
        }
        if (cause instanceof UnreadableException) {
            return "unreadable";
        }
        if (cause instanceof TwintierException known) {
            return known.kind().name().toLowerCase(Locale.ROOT);
        }
        if (cause instanceof CancellationException || cause instanceof InterruptedException) {
            return "cancelled";
        }
        if (cause instanceof UnsupportedOperationException) {
            return "unsupported";
        }
        return cause instanceof IllegalArgumentException || cause instanceof NullPointerException
                ? "usage" : "internal";
    }
}
