package dev.twintier.client;

import io.grpc.CallOptions;
import io.grpc.Channel;
import io.grpc.ClientCall;
import io.grpc.ClientInterceptor;
import io.grpc.ForwardingClientCall.SimpleForwardingClientCall;
import io.grpc.Metadata;
import io.grpc.MethodDescriptor;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.concurrent.TimeUnit;

/** Sends the bearer token of a file. The file is read anew every second, so that it can be rotated. */
final class TokenFile implements ClientInterceptor {
    private static final System.Logger LOG = System.getLogger(TokenFile.class.getName());
    private static final Metadata.Key<String> AUTHORIZATION =
            Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER);
    private static final long INTERVAL_NANOS = TimeUnit.SECONDS.toNanos(1);

    private final Path path;
    private volatile Read last;

    private record Read(String header, long at) {
    }

    TokenFile(Path path) {
        this.path = path;
        try {
            this.last = new Read(read(), System.nanoTime());
        } catch (IOException failure) {
            throw new UncheckedIOException("tokenFile: cannot be read: " + path, failure);
        }
    }

    private String read() throws IOException {
        String token = Files.readString(path).strip();
        if (token.isEmpty()) {
            throw new IOException("the file is empty");
        }
        return "Bearer " + token;
    }

    private String header() {
        Read known = last;
        if (System.nanoTime() - known.at < INTERVAL_NANOS) {
            return known.header;
        }
        String header = known.header;
        try {
            header = read();
        } catch (IOException failure) {
            LOG.log(System.Logger.Level.WARNING, "twintier: token file cannot be read: " + path, failure);
        }
        last = new Read(header, System.nanoTime());
        return header;
    }

    @Override
    public <Q, A> ClientCall<Q, A> interceptCall(MethodDescriptor<Q, A> method, CallOptions options,
            Channel next) {
        return new SimpleForwardingClientCall<>(next.newCall(method, options)) {
            @Override
            public void start(Listener<A> listener, Metadata headers) {
                headers.put(AUTHORIZATION, header());
                super.start(listener, headers);
            }
        };
    }
}
