package dev.twintier.conformance;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ConcurrentMap;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;

/** Runner of the conformance suite: a request per line of standard input, an answer per line of output. */
public final class Runner {
    private static final ObjectMapper MAPPER = new ObjectMapper();

    private final PrintStream output;
    private final Operations operations;
    private final ConcurrentMap<Long, CompletableFuture<?>> running = new ConcurrentHashMap<>();
    private final ExecutorService tasks = Executors.newCachedThreadPool(Threads.daemons("runner"));

    private Runner(PrintStream output, boolean blocking) {
        this.output = output;
        this.operations = new Operations(blocking ? new BlockingCalls(tasks) : new AsyncCalls(), tasks);
    }

    /**
     * Runs until the input ends.
     *
     * @param arguments {@code blocking} to use the synchronous views
     * @throws IOException if the input cannot be read
     */
    public static void main(String[] arguments) throws IOException {
        boolean blocking = arguments.length > 0 && arguments[0].equals("blocking");
        Runner runner = new Runner(new PrintStream(System.out, false, StandardCharsets.UTF_8), blocking);
        BufferedReader input = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = input.readLine(); line != null; line = input.readLine()) {
            JsonNode request = MAPPER.readTree(line);
            runner.tasks.execute(() -> runner.handle(request));
        }
        runner.operations.close();
        System.exit(0);
    }

    private void handle(JsonNode request) {
        long id = request.get("id").asLong();
        if (request.get("op").asText().equals("cancel")) {
            CompletableFuture<?> call = running.get(request.get("call").asLong());
            if (call != null) {
                call.cancel(true);
            }
            answer(id, MAPPER.createObjectNode(), null);
            return;
        }
        CompletableFuture<JsonNode> call;
        try {
            call = operations.start(request, started -> running.put(id, started));
        } catch (RuntimeException failure) {
            call = CompletableFuture.failedFuture(failure);
        }
        call.whenComplete((result, failure) -> {
            running.remove(id);
            answer(id, result, failure);
        });
    }

    private void answer(long id, JsonNode result, Throwable failure) {
        ObjectNode answer = MAPPER.createObjectNode().put("id", id);
        if (failure == null) {
            answer.set("result", result);
        } else {
            answer.set("error", ErrorKinds.describe(failure, MAPPER.createObjectNode()));
        }
        synchronized (output) {
            output.println(answer);
            output.flush();
        }
    }
}
