package io.jindou.store;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;

import io.jindou.DType;
import io.jindou.Device;
import io.jindou.HostTensor;
import io.jindou.Stream;
import io.jindou.Tensor;
import java.io.IOException;
import java.nio.file.Path;
import java.util.Arrays;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Rows that were fetched while others looked up in the cache. The model test of TieredTable has crowds as well. */
class BacklogTest {
    private static final int DIM = 4, MOST = 64;
    private static final long[] KEYS = {5, 6, 7};

    @TempDir
    Path folder;

    private Device device;
    private Stream stream;
    private TieredTable table;

    @BeforeEach
    void open() throws IOException {
        device = Device.open("cpu");
        stream = Stream.create(device);
        table = TieredTable.open(
                device,
                folder.resolve("rows"),
                TieredTableDesc.of(DType.F32, DIM, 1000, MOST).withDurability(Durability.BUFFERED).withHostRows(0));
    }

    @AfterEach
    void close() {
        table.close();
        stream.close();
        device.close();
    }

    private static HostTensor rows(int count, float value) {
        float[] values = new float[count * DIM];
        Arrays.fill(values, value);
        return HostTensor.of(values, count, DIM);
    }

    /** Keys 0..n-1 with the row 1, none of them cached. */
    private void write(int n) throws IOException {
        for (long first = 0; first < n; first += MOST) {
            long[] keys = from(first, (int) Math.min(MOST, n - first));
            table.update(keys, rows(keys.length, 1));
        }
    }

    private static long[] from(long first, int count) {
        long[] keys = new long[count];
        Arrays.setAll(keys, i -> first + i);
        return keys;
    }

    private void expect(float value, long... keys) throws IOException {
        try (Tensor out = Tensor.create(device, DType.F32, keys.length, DIM)) {
            table.lookup(stream, keys, out);
            float[] expected = new float[keys.length * DIM];
            Arrays.fill(expected, value);
            assertArrayEquals(expected, out.readFloats(stream));
        }
    }

    /** Looks up, and gives how many of the keys the cache had. */
    private long hits(float value, long... keys) throws IOException {
        long before = table.statistics().deviceHits();
        expect(value, keys);
        return table.statistics().deviceHits() - before;
    }

    @Test
    void what_was_put_off_goes_in_with_a_later_call() throws IOException {
        write(100);
        table.backlog.crowded = true;
        assertEquals(0, hits(1, KEYS));
        assertEquals(3, table.backlog.size());
        assertEquals(4, hits(1, 5, 6, 7, 6), "nobody fetches them again");
        table.prefetch(new long[] {8, 5}).join();
        assertEquals(4, table.backlog.size());
        assertEquals(4, hits(1, 5, 6, 7, 8), "a prefetch brought what the lookup wants");
        table.backlog.crowded = false;
        assertEquals(0, hits(1, 50), "the call that finds the cache free");
        assertEquals(0, table.backlog.size());
        assertEquals(5, hits(1, 5, 6, 7, 8, 50));
    }

    @Test
    void an_update_takes_its_keys_out() throws IOException {
        write(100);
        table.backlog.crowded = true;
        expect(1, KEYS);
        table.update(new long[] {6}, rows(1, 2));
        table.erase(new long[] {7});
        assertEquals(1, hits(1, 5));
        assertEquals(0, hits(2, 6));
        assertEquals(1, hits(2, 6), "it is back");
        expect(0, 7);
        table.backlog.crowded = false;
        expect(1, 50);
        expect(2, 6);
        expect(0, 7);
        expect(1, 5);
    }

    @Test
    void a_restore_leaves_nothing_of_it() throws IOException {
        write(100);
        Path file = folder.resolve("snapshot");
        table.snapshot(file);
        table.update(KEYS, rows(3, 2));
        table.backlog.crowded = true;
        expect(2, KEYS);
        table.restore(file);
        assertEquals(0, table.backlog.size());
        table.backlog.crowded = false;
        expect(1, 50);
        expect(1, KEYS);
    }

    /** A crowd that never goes does not keep rows out for good. */
    @Test
    void a_full_one_waits_for_the_cache() throws IOException {
        write(1000);
        table.backlog.crowded = true;
        for (long first = 0; first < 1000; first += 40) {
            expect(1, from(first, 40));
        }
        long hits = 0;
        for (long first = 0; first < 1000; first += 40) {
            hits += hits(1, from(first, 40));
        }
        assertFalse(hits < 800, hits + " of 1000 rows are cached");
    }
}
