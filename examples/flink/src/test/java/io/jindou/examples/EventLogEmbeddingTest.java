package io.jindou.examples;

import static java.util.stream.Collectors.joining;
import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.jindou.Device;
import io.jindou.Safetensors;
import io.jindou.Stream;
import java.io.ByteArrayOutputStream;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

/** A job takes seconds; one that does not end is found by the time limit. */
@Timeout(value = 3, unit = TimeUnit.MINUTES, threadMode = Timeout.ThreadMode.SEPARATE_THREAD)
class EventLogEmbeddingTest {
    @TempDir
    private Path folder;

    /** 150 users, their events mixed. */
    private Path log() throws Exception {
        Random random = new Random(1);
        StringBuilder lines = new StringBuilder();
        for (int i = 0; i < 3000; i++) {
            lines.append(1 + random.nextInt(150)).append(' ').append(1 + random.nextInt(23_000)).append('\n');
        }
        return Files.writeString(folder.resolve("_events.txt"), lines);
    }

    @Test
    void any_number_of_workers_gives_the_bits_of_one_loop() throws Exception {
        Path log = log();
        Map<Long, float[]> one = EventLogEmbedding.embed(log, 1, "cpu");
        Map<Long, float[]> three = EventLogEmbedding.embed(log, 3, "cpu");
        try (HstuModel model = HstuModel.bundled();
                Device device = Device.open("cpu");
                Stream stream = Stream.create(device);
                HstuRetriever retriever = new HstuRetriever(model, device, stream, 1)) {
            List<EventLog.History> histories = EventLog.read(log, model.config().numItems());
            assertEquals(histories.size(), one.size());
            assertEquals(one.keySet(), three.keySet());
            for (EventLog.History history : histories) {
                float[] expected = retriever.encode(List.of(history.items()));
                assertArrayEquals(expected, one.get(history.user()));
                assertArrayEquals(expected, three.get(history.user()));
            }
        }
    }

    @Test
    void the_program_writes_users_and_embeddings() throws Exception {
        Path out = folder.resolve("embeddings.safetensors");
        assertEquals("", run(0, log().toString(), out.toString()));
        try (Safetensors written = Safetensors.open(out)) {
            assertArrayEquals(new long[] {written.get("users").elements(), 64}, written.get("embeddings").shape());
        }
    }

    @Test
    void a_bad_line_is_named() throws Exception {
        Path log = Files.writeString(folder.resolve("bad.txt"), "1\t2\n\n 2   3\n1 23716\n1 4\n");
        assertEquals("embed-log: " + log + ", line 4: item 23716 is not in 1..23715", run(1, log.toString(), "unused"));
    }

    @Test
    void a_log_without_events_is_named() throws Exception {
        Path log = Files.writeString(folder.resolve("blank.txt"), "\n \n");
        assertEquals("embed-log: " + log + ": no events", run(1, log.toString(), "unused", "1"));
    }

    @Test
    void bad_arguments_are_named() throws Exception {
        String log = log().toString();
        for (String workers : List.of("0", "-1", "65", "x", "")) {
            assertEquals("embed-log: task managers (WORKERS): expected 1..64, got '" + workers + "'", run(1, log, "unused", workers));
        }
        assertEquals("embed-log: " + folder + ": expected a file that can be read", run(1, folder.toString(), "unused"));
        assertEquals("embed-log: nowhere: expected a file that can be read", run(1, "nowhere", "unused"));
        Path zipped = Files.write(folder.resolve("zipped.txt"), new byte[] {0x1f, (byte) 0x8b, 8});
        String said = zipped + ": Flink knows a gzip file by its name, expected one that ends with .gz";
        assertEquals("embed-log: " + said, run(1, zipped.toString(), "unused"));
        Path out = folder.resolve("missing").resolve("out");
        assertEquals("embed-log: " + out + ": its directory does not exist", run(1, log, out.toString()));
        assertTrue(run(2, log).startsWith("usage: "));
    }

    /** Nobody foresaw it, it is not even an exception, and of this one Flink itself would end the JVM: the job ends, the users are named. */
    @Test
    void any_failure_of_a_model_ends_the_job() throws Exception {
        Path log = log();
        Exception failure = assertThrows(Exception.class, () -> EventLogEmbedding.embed(log, 23_715, 2, FailsAtSecondBatch::new));
        String said = EventLogEmbedding.cause(failure);
        assertTrue(said.matches("cannot embed a batch of [0-9]+ users, \\[[0-9, ]+\\]: java.lang.InternalError: a lost page"), said);
    }

    /** What a cause carries may be unable to travel from the task to the program: its text does. */
    @Test
    void a_model_that_cannot_be_opened_ends_the_job() throws Exception {
        Path log = log();
        Exception failure = assertThrows(Exception.class, () -> EventLogEmbedding.embed(log, 23_715, 2, maxUsers -> {
            throw new CannotTravel();
        }));
        String said = EventLogEmbedding.cause(failure);
        assertTrue(said.contains("cannot open the model: "), said);
        assertTrue(said.contains("no such device"), said);
    }

    private record FailsAtSecondBatch(int maxUsers, AtomicInteger batches) implements EmbedUsers.Encoder {
        FailsAtSecondBatch(int maxUsers) {
            this(maxUsers, new AtomicInteger());
        }

        @Override
        public float[] encode(List<int[]> histories) {
            if (batches.incrementAndGet() == 2) {
                throw new InternalError("a lost page");
            }
            return new float[histories.size()];
        }

        @Override
        public void close() {}
    }

    private static final class CannotTravel extends RuntimeException {
        private final Object stays = new Object(); // not Serializable

        CannotTravel() {
            super("no such device");
        }
    }

    /** What the program, with this exit status, writes to the standard error. */
    private static String run(int status, String... arguments) {
        PrintStream before = System.err;
        ByteArrayOutputStream printed = new ByteArrayOutputStream();
        System.setErr(new PrintStream(printed, true, StandardCharsets.UTF_8));
        try {
            assertEquals(status, EventLogEmbedding.run(arguments));
        } finally {
            System.setErr(before);
        }
        return printed.toString(StandardCharsets.UTF_8).lines().filter(line -> line.matches("(embed-log|usage): .*")).collect(joining("\n"));
    }
}
