package io.jindou.examples;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotEquals;

import io.jindou.Device;
import io.jindou.Stream;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

class EventRowsTest {
    @TempDir
    Path folder;

    /** Where embeddings lie changes no bit, neither when the store is filled nor when it is opened again. */
    @ParameterizedTest
    @MethodSource("io.jindou.examples.Devices#all")
    void a_tiered_store_gives_the_same_bits(String name) throws Exception {
        int users = name.equals("simt") ? 3 : 40, events = name.equals("simt") ? 4 : 30;
        try (HstuModel model = HstuModel.bundled();
                Device device = Device.open(name);
                Stream stream = Stream.create(device);
                HstuRetriever plain = new HstuRetriever(model, device, stream, users)) {
            Random random = new Random(4);
            List<int[]> histories = new ArrayList<>();
            for (int b = 0; b < users; b++) {
                histories.add(random.ints(1 + random.nextInt(events), 1, plain.rowLength()).toArray());
            }
            float[] expected = plain.encode(histories);
            for (int opened = 0; opened < 2; opened++) {
                try (HstuRetriever tiered = new HstuRetriever(model, device, stream, users, folder)) {
                    String nothingYet = "tiered, a device cache of 2,371 of 23,716 rows: 100.0% hits, 0 rows from host memory, 0 from disk";
                    assertEquals(nothingYet, tiered.embeddings(), "filling the store is no lookup of a history");
                    for (int again = 0; again < 2; again++) {
                        assertArrayEquals(expected, tiered.encode(histories));
                    }
                    assertNotEquals(nothingYet, tiered.embeddings());
                }
            }
        }
    }
}
