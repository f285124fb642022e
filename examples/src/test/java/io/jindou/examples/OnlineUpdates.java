package io.jindou.examples;

import io.jindou.Device;
import io.jindou.HostTensor;
import io.jindou.Stream;
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
 * then updates them for ever: rows of other keys with random numbers, the cases' own rows version by version ({@link RowVersions}), each
 * batch durable before the next, and told as "table version"; now and then RocksDB merges its files, and a snapshot is taken.
 */
final class OnlineUpdates {
    /** A table of a case that a store can hold. */
    record Stored(String nameOfCase, String table, HostTensor rows) {}

    private OnlineUpdates() {}

    /** Arguments: the store, the folder of cases, a number that no run on the store had before. */
    public static void main(String[] arguments) throws Exception {
        Path directory = Path.of(arguments[0]);
        ParityStore store = new ParityStore(directory);
        List<Stored> all = tables(Path.of(arguments[1]));
        List<TieredTable> opened = new ArrayList<>();
        Device device = Device.open("cpu");
        try (Stream stream = Stream.create(device)) {
            for (Stored each : all) {
                opened.add(store.open(stream, each.nameOfCase, each.table, each.rows));
            }
        }
        System.out.println("loaded");
        System.out.flush();
        int run = Integer.parseInt(arguments[2]);
        Random random = new Random(run);
        for (int version = firstVersion(run); ; version++) {
            for (int t = 0; t < all.size(); t++) {
                TieredTable table = opened.get(t);
                HostTensor rows = all.get(t).rows;
                int count = Math.toIntExact(rows.shape()[0]);
                byte[] noise = new byte[Math.toIntExact(rows.data().byteSize())];
                random.nextBytes(noise);
                HostTensor others = new HostTensor(rows.dtype(), java.lang.foreign.MemorySegment.ofArray(noise), rows.shape());
                table.update(Arrays.stream(ParityStore.keys(count)).map(key -> key + 1_000_000 + random.nextInt(1000)).toArray(), others);
                table.update(RowVersions.keys(count), RowVersions.of(rows, version));
                System.out.println(t + " " + version);
                System.out.flush();
                if (random.nextInt(50) == 0) {
                    table.compact();
                }
                if (random.nextInt(50) == 0) {
                    table.snapshot(directory.resolve(all.get(t).nameOfCase + "_" + all.get(t).table + ".safetensors"));
                }
            }
        }
    }

    /** No two runs write the same version: what is left of one is not taken for another's. */
    static int firstVersion(int run) {
        return 1 + 1_000_000 * run;
    }

    /** The tables of all embedding cases, in the order that they are told by. */
    static List<Stored> tables(Path cases) throws IOException {
        List<Stored> all = new ArrayList<>();
        try (var folders = Files.list(cases)) {
            for (Path folder : folders.filter(Files::isDirectory).sorted().toList()) {
                try (ParityCase given = ParityCase.open(folder)) {
                    if (!given.op().endsWith("embedding") && !given.op().equals("embedding_bag")) {
                        continue;
                    }
                    for (int t = 0; given.hasInput("table_" + t); t++) {
                        HostTensor rows = copy(table(given, "table_" + t));
                        if (ParityStore.holds(rows)) {
                            all.add(new Stored(given.name(), "table_" + t, rows));
                        }
                    }
                }
            }
        }
        return all;
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
