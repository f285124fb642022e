package io.jindou.examples;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.jindou.Device;
import io.jindou.Safetensors;
import io.jindou.Stream;
import java.io.StringWriter;
import java.io.PrintWriter;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

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
        return Files.writeString(folder.resolve("events.txt"), lines);
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
        EventLogEmbedding.main(new String[] {log().toString(), out.toString()});
        try (Safetensors written = Safetensors.open(out)) {
            assertArrayEquals(new long[] {written.get("users").elements(), 64}, written.get("embeddings").shape());
        }
    }

    @Test
    void a_bad_line_is_named() throws Exception {
        Path log = Files.writeString(folder.resolve("bad.txt"), "1 2\n1 x\n");
        StringWriter trace = new StringWriter();
        assertThrows(Exception.class, () -> EventLogEmbedding.embed(log, 1, "cpu")).printStackTrace(new PrintWriter(trace));
        assertTrue(trace.toString().contains("line 2: expected \"user item\", got \"1 x\""), trace.toString());
    }
}
