package dev.twintier.client;

import io.grpc.ClientStreamTracer;
import io.grpc.Metadata;
import io.grpc.Status;

/**
 * Connects anew at once when an attempt of a call finds no connection, so that the next attempt has one:
 * a replica may be back long before the pause of gRPC, a second and more, has passed. The breaker
 * bounds the attempts.
 */
final class Reconnect extends ClientStreamTracer.Factory {
    private final Runnable resetBackoff;

    Reconnect(Runnable resetBackoff) {
        this.resetBackoff = resetBackoff;
    }

    @Override
    public ClientStreamTracer newClientStreamTracer(ClientStreamTracer.StreamInfo info, Metadata headers) {
        return new ClientStreamTracer() {
            @Override
            public void streamClosed(Status status) {
                if (status.getCode() == Status.Code.UNAVAILABLE) {
                    resetBackoff.run();
                }
            }
        };
    }
}
