package dev.twintier.client;

import dev.twintier.v1.CacheServiceGrpc;
import dev.twintier.v1.WatchChange;
import dev.twintier.v1.WatchHeartbeat;
import dev.twintier.v1.WatchRequest;
import dev.twintier.v1.WatchResponse;
import io.grpc.CallOptions;
import io.grpc.Channel;
import io.grpc.ClientCall;
import io.grpc.Metadata;
import io.grpc.Status;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.TimeUnit;

/** Watch of one namespace. Begins anew when it ends, from where it was. */
final class Watcher {
    private static final System.Logger LOG = System.getLogger(Watcher.class.getName());
    private static final long MIN_BACKOFF_MILLIS = 100;
    private static final long MAX_BACKOFF_MILLIS = 5_000;
    private static final long MAX_HEARTBEAT_MILLIS = 1_000;
    private static final long MIN_HEARTBEAT_MILLIS = 100;

    private final Channel channel;
    private final ScheduledExecutorService scheduler;
    private final String name;
    private final NearNamespace namespace;
    private final Duration heartbeatInterval;
    private final List<String> tokens = new ArrayList<>();
    private long backoffMillis = MIN_BACKOFF_MILLIS;
    private long calledAt;
    private ClientCall<WatchRequest, WatchResponse> call;
    private boolean closed;

    Watcher(Channel channel, ScheduledExecutorService scheduler, String name, NearNamespace namespace,
            Duration maxStaleness) {
        this.channel = channel;
        this.scheduler = scheduler;
        this.name = name;
        this.namespace = namespace;
        long interval = Math.min(MAX_HEARTBEAT_MILLIS, maxStaleness.toMillis() / 4);
        this.heartbeatInterval = Duration.ofMillis(Math.max(MIN_HEARTBEAT_MILLIS, interval));
    }

    /** Begins the watch on another thread. */
    void start() {
        scheduler.execute(this::watch);
    }

    private synchronized void watch() {
        if (closed) {
            return;
        }
        WatchRequest request = WatchRequest.newBuilder().setNamespace(name).addAllTokens(tokens)
                .setHeartbeatInterval(Wire.duration(heartbeatInterval)).build();
        calledAt = System.nanoTime();
        call = channel.newCall(CacheServiceGrpc.getWatchMethod(), CallOptions.DEFAULT);
        call.start(new Listener(call), new Metadata());
        call.sendMessage(request);
        call.halfClose();
        call.request(1);
    }

    private synchronized void received(WatchResponse response) {
        if (closed) {
            return;
        }
        backoffMillis = MIN_BACKOFF_MILLIS;
        switch (response.getEventCase()) {
            case HEARTBEAT -> heartbeat(response.getHeartbeat());
            case CHANGE -> change(response.getChange());
            case DISCONTINUITY -> {
                tokens.clear();
                namespace.onDiscontinuity();
            }
            default -> namespace.onDiscontinuity();
        }
    }

    private void heartbeat(WatchHeartbeat heartbeat) {
        tokens.clear();
        tokens.add(heartbeat.getToken());
        namespace.onHeartbeat(heartbeat, calledAt);
    }

    private void change(WatchChange change) {
        // Without its token a change is delivered again when the watch resumes.
        if (!change.getToken().isEmpty() && tokens.size() < SessionTokens.MAX_TOKENS) {
            tokens.add(change.getToken());
        }
        namespace.onChange(Selector.of(change));
    }

    private synchronized void ended(Status status) {
        if (closed) {
            return;
        }
        if (status.getCode() != Status.Code.UNAVAILABLE && status.getCode() != Status.Code.OK) {
            LOG.log(System.Logger.Level.WARNING, "twintier: watch of namespace {0} failed: {1}", name, status);
            tokens.clear();
        }
        if (tokens.isEmpty()) {
            namespace.onDiscontinuity();
        }
        long delay = ThreadLocalRandom.current().nextLong(backoffMillis / 2, backoffMillis + 1);
        backoffMillis = Math.min(MAX_BACKOFF_MILLIS, backoffMillis * 2);
        scheduler.schedule(this::watch, delay, TimeUnit.MILLISECONDS);
    }

    synchronized void close() {
        closed = true;
        if (call != null) {
            call.cancel("client is closed", null);
        }
    }

    private final class Listener extends ClientCall.Listener<WatchResponse> {
        private final ClientCall<WatchRequest, WatchResponse> ownCall;

        Listener(ClientCall<WatchRequest, WatchResponse> ownCall) {
            this.ownCall = ownCall;
        }

        @Override
        public void onMessage(WatchResponse response) {
            received(response);
            ownCall.request(1);
        }

        @Override
        public void onClose(Status status, Metadata trailers) {
            ended(status);
        }
    }
}
