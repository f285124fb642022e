package io.jindou.examples;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import io.jindou.Device;
import io.jindou.Jindou;
import io.jindou.Stream;
import java.io.IOException;
import java.io.InputStream;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** The model against what PyTorch computed for 128 users. */
class HstuRetrieverTest {
    private static final double SCORE_TOLERANCE = 1e-4;
    private static final double TIE = 1e-5;

    /** A user of golden.json. */
    private record Golden(int[] history, float[] hidden, int[] top, float[] scores) {}

    static List<String> devices() {
        return Devices.all();
    }

    private static List<Golden> golden() throws IOException {
        try (InputStream json = HstuRetrieverTest.class.getResourceAsStream("golden.json")) {
            List<Golden> users = new ArrayList<>();
            for (JsonNode user : new ObjectMapper().readTree(json)) {
                users.add(new Golden(
                        ints(user.get("history")), floats(user.get("hidden8")), ints(user.get("top")), floats(user.get("scores"))));
            }
            return users;
        }
    }

    private static int[] ints(JsonNode array) {
        int[] values = new int[array.size()];
        Arrays.setAll(values, i -> array.get(i).intValue());
        return values;
    }

    private static float[] floats(JsonNode array) {
        float[] values = new float[array.size()];
        for (int i = 0; i < values.length; i++) {
            values[i] = array.get(i).floatValue();
        }
        return values;
    }

    @ParameterizedTest
    @MethodSource("devices")
    void golden_users_get_the_same_top_20(String deviceName) throws IOException {
        List<Golden> users = golden();
        assertEquals(128, users.size());
        if (deviceName.equals("simt")) {
            users = users.subList(0, 8); // emulation is slow
        }
        try (HstuModel model = HstuModel.bundled();
                Device device = Device.open(deviceName);
                Stream stream = Stream.create(device);
                HstuRetriever retriever = new HstuRetriever(model, device, stream, 8);
                Ranker ranker = new Ranker(retriever)) {
            for (int from = 0; from < users.size(); from += 8) {
                List<Golden> part = users.subList(from, from + 8);
                List<int[]> histories = part.stream().map(Golden::history).toList();
                float[] hidden = retriever.encode(histories);
                Ranker.Ranking[] rankings = ranker.top(histories, 20);
                for (int b = 0; b < part.size(); b++) {
                    String user = deviceName + ", user " + (from + b);
                    for (int d = 0; d < 8; d++) {
                        assertEquals(part.get(b).hidden()[d], hidden[b * 64 + d], SCORE_TOLERANCE, user);
                    }
                    assertSameRanking(user, part.get(b), rankings[b]);
                }
            }
        }
    }

    /** Scores agree place by place; the item may differ only where the expected scores around it tie. */
    private static void assertSameRanking(String user, Golden expected, Ranker.Ranking got) {
        assertEquals(expected.top().length, got.items().length, user);
        for (int i = 0; i < expected.top().length; i++) {
            assertEquals(expected.scores()[i], got.scores()[i], SCORE_TOLERANCE, user + ", place " + i);
            if (expected.top()[i] != got.items()[i]) {
                int item = got.items()[i];
                int place = i;
                boolean tied = false;
                for (int j = 0; j < expected.top().length; j++) {
                    tied |= expected.top()[j] == item && Math.abs(expected.scores()[j] - expected.scores()[place]) <= TIE;
                }
                boolean lastPlaces = expected.scores()[place] - expected.scores()[expected.scores().length - 1] <= TIE;
                assertTrue(tied || lastPlaces, user + ", place " + i + ": expected item " + expected.top()[i] + ", got " + item);
            }
        }
    }

    @Test
    void a_users_bits_do_not_depend_on_the_batch() throws IOException {
        List<int[]> histories = golden().stream().map(Golden::history).limit(16).toList();
        try (HstuModel model = HstuModel.bundled();
                Device device = Device.open("cpu");
                Stream stream = Stream.create(device);
                HstuRetriever retriever = new HstuRetriever(model, device, stream, 16)) {
            float[] together = retriever.encode(histories);
            for (int b = 0; b < histories.size(); b++) {
                float[] alone = retriever.encode(List.of(histories.get(b)));
                assertEquals(
                        -1, Arrays.mismatch(alone, Arrays.copyOfRange(together, b * 64, (b + 1) * 64)), "user " + b);
            }
        }
    }

    @Test
    void bad_batches_are_refused_and_nothing_is_lost() throws IOException {
        long before = Jindou.liveObjects();
        try (HstuModel model = HstuModel.bundled();
                Device device = Device.open("cpu");
                Stream stream = Stream.create(device);
                HstuRetriever retriever = new HstuRetriever(model, device, stream, 2)) {
            int[] fine = {1, 2, 3};
            assertThrows(IllegalArgumentException.class, () -> retriever.encode(List.of()));
            assertThrows(IllegalArgumentException.class, () -> retriever.encode(List.of(fine, new int[0])));
            assertThrows(IllegalArgumentException.class, () -> retriever.encode(List.of(fine, fine, fine)));
            assertThrows(io.jindou.OutOfBoundsException.class, () -> retriever.encode(List.of(new int[] {1, 99_999_999})));
            assertEquals(64, retriever.encode(List.of(fine)).length);
        }
        assertEquals(before, Jindou.liveObjects());
    }
}
