package io.jindou.examples;

import io.jindou.Device;
import io.jindou.HostTensor;
import io.jindou.store.TieredTable;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Random;

/**
 * A process to be killed: an online update run over the tables of all embedding cases in a store. It writes the tables, says "loaded", and
 * then updates them for ever: rows of other keys with random numbers, the cases' own rows anew, each batch durable before the next; now and
 * then RocksDB merges its files, and a snapshot is taken.
 */
final class OnlineUpdates {
    /** A table, and what the case says of its rows. */
    private record Updated(TieredTable table, HostTensor rows, Path snapshot) {}

    private OnlineUpdates() {}

    /** Arguments: the store, the folder of cases, a seed. */
    public static void main(String[] arguments) throws Exception {
        Path directory = Path.of(arguments[0]);
        ParityStore store = new ParityStore(directory);
        List<Updated> all = new ArrayList<>();
        Device device = Device.open("cpu");
        try (var folders = Files.list(Path.of(arguments[1]))) {
            for (Path folder : folders.filter(Files::isDirectory).sorted().toList()) {
                try (ParityCase given = ParityCase.open(folder)) {
                    if (!given.op().endsWith("embedding") && !given.op().equals("embedding_bag")) {
                        continue;
                    }
                    for (int t = 0; given.hasInput("table_" + t); t++) {
                        HostTensor rows = copy(table(given, "table_" + t));
                        if (ParityStore.holds(rows)) {
                            all.add(new Updated(
                                    store.open(device, given.name(), "table_" + t, rows),
                                    rows,
                                    directory.resolve(given.name() + "_" + t + ".safetensors")));
                        }
                    }
                }
            }
        }
        System.out.println("loaded");
        System.out.flush();
        Random random = new Random(Long.parseLong(arguments[2]));
        for (int round = 0; ; round++) {
            for (Updated each : all) {
                int count = Math.toIntExact(each.rows.shape()[0]);
                byte[] noise = new byte[Math.toIntExact(each.rows.data().byteSize())];
                random.nextBytes(noise);
                HostTensor others = new HostTensor(
                        each.rows.dtype(), java.lang.foreign.MemorySegment.ofArray(noise), each.rows.shape());
                each.table.update(Arrays.stream(ParityStore.keys(count)).map(key -> key + 1_000_000 + random.nextInt(1000)).toArray(), others);
                each.table.update(ParityStore.keys(count), each.rows);
                if (random.nextInt(50) == 0) {
                    each.table.compact();
                }
                if (random.nextInt(50) == 0) {
                    each.table.snapshot(each.snapshot);
                }
                System.out.println(round);
                System.out.flush();
            }
        }
    }

    /** Numbers, or rows of codes. */
    private static HostTensor table(ParityCase given, String name) throws IOException {
        try {
            return given.table(name, false);
        } catch (ParityCase.BadCase codes) {
            return given.table(name, true);
        }
    }

    /** Rows that outlive the file they were read from. */
    private static HostTensor copy(HostTensor rows) {
        byte[] bytes = rows.data().toArray(java.lang.foreign.ValueLayout.JAVA_BYTE);
        return new HostTensor(rows.dtype(), java.lang.foreign.MemorySegment.ofArray(bytes), rows.shape());
    }
}
