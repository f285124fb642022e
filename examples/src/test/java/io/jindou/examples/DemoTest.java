package io.jindou.examples;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** The main job as it is started, on a small event log: users of golden.json, whose next event is, as a rule, one of what the model thinks best. */
class DemoTest {
    private static final int USERS = 48;

    @TempDir
    Path folder;

    /** What a run printed, and the JSON at its end. */
    private record Run(String printed, JsonNode report) {
        List<Double> metrics() {
            return List.of(
                    report.get("hr10").doubleValue(), report.get("hr50").doubleValue(), report.get("ndcg10").doubleValue());
        }
    }

    @Test
    void a_tiered_store_gives_the_same_metrics_when_it_is_filled_and_when_it_is_there() throws IOException {
        Path events = eventLog();
        Run plain = run("--events=" + events);
        assertEquals(USERS, plain.report.get("users").intValue());
        assertTrue(plain.metrics().stream().allMatch(each -> each > 0.1 && each < 0.99), "metrics that can differ: " + plain.metrics());
        assertTrue(plain.printed.contains("Embeddings of histories: on the device"), plain.printed);
        Path store = folder.resolve("store");
        for (String start : List.of("a new directory", "the directory of another run")) {
            Run tiered = run("--events=" + events, "--embedding-store=tiered:" + store);
            assertEquals(plain.metrics(), tiered.metrics(), start);
            assertEquals(plain.report.get("users"), tiered.report.get("users"));
            assertTrue(tiered.printed.contains("Embeddings of histories: tiered, a device cache of 2,371 of 23,716 rows"), tiered.printed);
            assertTrue(tiered.printed.matches("(?s).*, [1-9][0-9,]* from disk.*"), "rows come from disk: " + tiered.printed);
        }
        assertTrue(Files.list(store).findAny().isPresent());
    }

    @Test
    void a_store_of_another_kind_is_refused() throws IOException {
        PrintStream before = System.err;
        ByteArrayOutputStream printed = new ByteArrayOutputStream();
        System.setErr(new PrintStream(printed, true, StandardCharsets.UTF_8));
        try {
            assertEquals(1, Demo.run("--device=cpu", "--embedding-store=redis:somewhere"));
        } finally {
            System.setErr(before);
        }
        assertTrue(printed.toString(StandardCharsets.UTF_8).contains("expected tiered:<directory>, got 'redis:somewhere'"));
    }

    private static Run run(String... more) throws IOException {
        String[] arguments = Stream.concat(Stream.of("--device=cpu", "--long-history=200"), Arrays.stream(more)).toArray(String[]::new);
        PrintStream before = System.out;
        ByteArrayOutputStream printed = new ByteArrayOutputStream();
        System.setOut(new PrintStream(printed, true, StandardCharsets.UTF_8));
        try {
            assertEquals(0, Demo.run(arguments));
        } finally {
            System.setOut(before);
        }
        String all = printed.toString(StandardCharsets.UTF_8).strip();
        return new Run(all, new ObjectMapper().readTree(all.substring(all.lastIndexOf('\n') + 1)));
    }

    /** A history a user, then item 0, 7, 14, ... of the user's best 20, or any item: found among the first ten for under half of the users. */
    private Path eventLog() throws IOException {
        List<String> lines = new ArrayList<>();
        try (InputStream json = DemoTest.class.getResourceAsStream("golden.json")) {
            int user = 0;
            for (JsonNode golden : new ObjectMapper().readTree(json)) {
                int events = golden.get("history").size();
                if (events < 2 || events > 40 || user == USERS) {
                    continue;
                }
                user++;
                for (JsonNode item : golden.get("history")) {
                    lines.add(user + " " + item.intValue());
                }
                lines.add(user + " " + (user % 5 == 0 ? 1 + user * 331 : golden.get("top").get(user * 7 % 20).intValue()));
            }
        }
        return Files.write(folder.resolve("events.txt"), lines);
    }
}
