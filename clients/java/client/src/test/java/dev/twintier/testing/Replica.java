package dev.twintier.testing;

import java.io.File;
import java.io.IOException;
import java.io.InputStream;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.concurrent.TimeUnit;

/**
 * A replica of the real program over a real Redis. The environment variable {@code TWINTIER} names the program; the
 * default is the build of this repository.
 */
public final class Replica implements AutoCloseable {
    private final Process redis;
    private final Process program;
    private final int port;

    private Replica(Process redis, Process program, int port) {
        this.redis = redis;
        this.program = program;
        this.port = port;
    }

    /**
     * Starts a replica, and waits until it is ready.
     *
     * @return the replica
     * @throws IOException if it cannot be started
     * @throws InterruptedException if the thread is interrupted
     */
    public static Replica start() throws IOException, InterruptedException {
        int redisPort = freePort();
        int port = freePort();
        Process redis = process("redis-server", "--port", String.valueOf(redisPort), "--save", "", "--bind",
                "127.0.0.1");
        Process program = process(program(), "serve", "--listen", "127.0.0.1:" + port, "--redis-url",
                "redis://127.0.0.1:" + redisPort, "--set", "admin.enabled=false", "--set", "log.level=error",
                "--set", "cache.stale_window=1h", "--set", "drain.delay=0s");
        Replica replica = new Replica(redis, program, port);
        Process health = process(program(), "health", "redis", "--wait", "30s", "--server", replica.address());
        if (!health.waitFor(60, TimeUnit.SECONDS) || health.exitValue() != 0) {
            replica.close();
            throw new IOException("the program did not become ready");
        }
        return replica;
    }

    private static String program() {
        String named = System.getenv("TWINTIER");
        if (named != null) {
            return named;
        }
        Path target = Path.of(System.getProperty("user.dir")).resolve("../../../target");
        for (String build : List.of("release/twintier", "debug/twintier")) {
            if (Files.isExecutable(target.resolve(build))) {
                return target.resolve(build).toString();
            }
        }
        throw new IllegalStateException("TWINTIER: must name the program, was not set");
    }

    private static Process process(String... command) throws IOException {
        return new ProcessBuilder(command).redirectErrorStream(true)
                .redirectOutput(new File("/dev/null")).start();
    }

    private static int freePort() throws IOException {
        try (ServerSocket socket = new ServerSocket(0, 1, InetAddress.getLoopbackAddress())) {
            return socket.getLocalPort();
        }
    }

    /**
     * Returns the address.
     *
     * @return the address, as {@code host:port}
     */
    public String address() {
        return "127.0.0.1:" + port;
    }

    /**
     * Returns true if the port accepts connections.
     *
     * @return true if it does
     */
    public boolean isListening() {
        try (Socket socket = new Socket(InetAddress.getLoopbackAddress(), port);
                InputStream input = socket.getInputStream()) {
            return input != null;
        } catch (IOException refused) {
            return false;
        }
    }

    /** Kills the program, as a crash would. */
    public void kill() {
        program.destroyForcibly().onExit().join();
    }

    @Override
    public void close() {
        program.destroyForcibly().onExit().join();
        redis.destroyForcibly().onExit().join();
    }
}
