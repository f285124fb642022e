package io.jindou.store;

import io.jindou.DType;
import io.jindou.Device;
import io.jindou.HostTensor;
import io.jindou.Stream;
import io.jindou.Tensor;
import java.io.IOException;
import java.nio.MappedByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.Arrays;

/**
 * A process to be killed. It updates batches of keys for ever, version by version, and prints each version when it is
 * durable; told so, it snapshots, restores or compacts as well. Beside that it reads, and ends by itself when it
 * meets a torn row.
 *
 * <p>A batch has keys of which all are in every batch, and one of {@link #GROUPS} groups of others in turn, whose
 * rows stay as they are for so many versions: through files that are written and merged all the time, since little is
 * kept in memory.
 */
final class Victim {
    static final int DIM = 64, KEYS = 100, GROUPS = 25;
    private static final long MEMTABLE_BYTES = 128 << 10; // RocksDB takes no less than 64 KiB

    private Victim() {}

    static long[] keys() {
        long[] keys = new long[KEYS];
        Arrays.setAll(keys, i -> i * 7919L);
        return keys;
    }

    /** The keys of a group. */
    static long[] group(int group) {
        long[] keys = new long[KEYS];
        Arrays.setAll(keys, i -> 1_000_003L + (group * KEYS + i) * 7919L);
        return keys;
    }

    static HostTensor rows(float version) {
        return rows(KEYS, version);
    }

    private static HostTensor rows(int count, float version) {
        float[] values = new float[count * DIM];
        Arrays.fill(values, version);
        return HostTensor.of(values, count, DIM);
    }

    /** All of a version: its keys, and those of its group. */
    private static void update(TieredTable table, int version) throws IOException {
        long[] all = Arrays.copyOf(keys(), 2 * KEYS);
        System.arraycopy(group(version % GROUPS), 0, all, KEYS, KEYS);
        table.update(all, rows(2 * KEYS, version));
    }

    /** What the rows of a group say when all rows are of a version, since version 1; 0: there are none. */
    static float versionOf(int group, int version) {
        return Math.max(0, version - Math.floorMod(version - group, GROUPS));
    }

    static TieredTableDesc desc() {
        return TieredTableDesc.of(DType.F32, DIM, 50, 2 * KEYS);
    }

    /** What the n-th process asks for: durable or buffered updates, a cache in host memory or none. */
    static TieredTableDesc desc(int process) {
        return desc().withDurability(process % 2 == 0 ? Durability.SYNC : Durability.BUFFERED).withHostRows(process % 3 == 1 ? 80 : 0);
    }

    /** Whether a process that was killed was in the middle of what it was told to do. */
    static boolean wasInside(Path directory) throws IOException {
        return Files.readAllBytes(mark(directory))[0] != 0;
    }

    private static Path mark(Path directory) {
        return directory.resolveSibling("inside");
    }

    /**
     * Arguments: directory, what ("update", "snapshot", "restore" or "compact"), the first version, how many
     * processes there were before.
     */
    public static void main(String[] arguments) throws Exception {
        Path directory = Path.of(arguments[0]), file = directory.resolveSibling("snapshot.safetensors");
        String what = arguments[1];
        MappedByteBuffer inside; // memory that outlives the process
        try (FileChannel channel = FileChannel.open(
                mark(directory), StandardOpenOption.CREATE, StandardOpenOption.READ, StandardOpenOption.WRITE)) {
            inside = channel.map(FileChannel.MapMode.READ_WRITE, 0, 1);
        }
        TieredTableDesc desc = desc(Integer.parseInt(arguments[3]));
        try (Device device = Device.open("cpu");
                TieredTable table = TieredTable.openBusy(device, directory, desc, MEMTABLE_BYTES)) {
            beside(() -> read(device, table));
            beside(() -> table.update(group(GROUPS), rows(1))); // a second writer, of rows that nobody asks for
            if (!what.equals("update")) {
                // All the time. A restore brings back an old version, so it is told with the snapshot's.
                beside(() -> {
                    inside.put(0, (byte) 1);
                    switch (what) {
                        case "snapshot" -> table.snapshot(file);
                        case "compact" -> table.compact();
                        default -> table.restore(file);
                    }
                    inside.put(0, (byte) 0);
                });
            }
            for (int version = Integer.parseInt(arguments[2]); ; version++) {
                if (what.equals("update")) {
                    inside.put(0, (byte) 1);
                }
                update(table, version);
                if (what.equals("update")) {
                    inside.put(0, (byte) 0);
                }
                System.out.println(version);
                System.out.flush();
            }
        }
    }

    private interface Work {
        void run() throws IOException;
    }

    /** Again and again. */
    private static void beside(Work work) {
        Thread.ofPlatform().daemon().start(() -> {
            try {
                while (true) {
                    work.run();
                }
            } catch (Exception | Error e) {
                e.printStackTrace();
                Runtime.getRuntime().halt(3);
            }
        });
    }

    private static void read(Device device, TieredTable table) throws IOException {
        try (Stream stream = Stream.create(device); Tensor out = Tensor.create(device, DType.F32, KEYS, DIM)) {
            table.lookup(stream, keys(), out);
            float[] rows = out.readFloats(stream);
            for (int i = 0; i < rows.length; i++) {
                if (rows[i] != rows[i / DIM * DIM]) {
                    throw new AssertionError("a torn row: " + rows[i] + " beside " + rows[i / DIM * DIM]);
                }
            }
        }
    }
}
