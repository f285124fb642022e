package io.jindou.examples;

import io.jindou.Device;
import io.jindou.HostTensor;
import io.jindou.Stream;
import io.jindou.Tensor;
import io.jindou.store.TieredTable;
import io.jindou.store.TieredTableDesc;
import java.io.IOException;
import java.nio.file.Path;
import java.util.Arrays;

/**
 * Where the tables of parity cases are kept in tiers (a device cache of a tenth of the rows, host memory, RocksDB),
 * one directory a table: {@code <store>/<case>/<table>}. A table that has no rows yet is written from the case, with
 * one update: all of them or none. One that has is only read, so that a store that something has happened to shows
 * whether its rows are still the right ones; but where an online update run was stopped at one of its {@link
 * RowVersions}, all rows must be of that one, and are then written as the case has them.
 */
final class ParityStore {
    private final Path directory;

    ParityStore(Path directory) {
        this.directory = directory;
    }

    /** Of the option {@code --embedding-store=tiered:<directory>}. */
    static ParityStore of(String option) {
        if (!option.startsWith("tiered:") || option.length() == 7) {
            throw new IllegalArgumentException("--embedding-store: expected tiered:<directory>, got '" + option + "'");
        }
        return new ParityStore(Path.of(option.substring(7)));
    }

    /** Whether tiers can hold such rows: they are multiples of 4 bytes. */
    static boolean holds(HostTensor table) {
        return table.shape()[0] > 0 && table.shape()[1] * table.dtype().size() % 4 == 0;
    }

    /** The table of a case, by row number; the caller closes it. */
    TieredTable open(Stream stream, String nameOfCase, String table, HostTensor rows) throws IOException {
        TieredTable opened = openAsItIs(stream.device(), nameOfCase, table, rows);
        try {
            settled(stream, opened, rows);
            return opened;
        } catch (IOException | RuntimeException e) {
            opened.close();
            throw e;
        }
    }

    /** What a table has of the rows, once they are there. */
    private static HostTensor settled(Stream stream, TieredTable table, HostTensor rows) throws IOException {
        HostTensor found = versioned(stream, table, rows);
        int count = Math.toIntExact(rows.shape()[0]);
        boolean hasNone = table.statistics().missing() == count + 1;
        if (!hasNone && RowVersions.check(found, rows) == 0) {
            return found;
        }
        table.update(RowVersions.keys(count), RowVersions.of(rows, 0));
        return versioned(stream, table, rows);
    }

    /** The same, whatever it has. */
    TieredTable openAsItIs(Device device, String nameOfCase, String table, HostTensor rows) throws IOException {
        int count = Math.toIntExact(rows.shape()[0]), dim = Math.toIntExact(rows.shape()[1]);
        return TieredTable.open(
                device,
                directory.resolve(nameOfCase).resolve(table),
                TieredTableDesc.of(rows.dtype(), dim, Math.max(1, count / 10), count + 1));
    }

    /** What a table has of {@link RowVersions}. */
    static HostTensor versioned(Stream stream, TieredTable table, HostTensor rows) throws IOException {
        long count = rows.shape()[0];
        try (Tensor all = Tensor.create(stream.device(), rows.dtype(), count + 1, rows.shape()[1])) {
            table.lookup(stream, RowVersions.keys(Math.toIntExact(count)), all);
            return all.readHost(stream);
        }
    }

    /** All rows of a case's table, looked up in the store. */
    Tensor rows(Stream stream, String nameOfCase, String table, HostTensor rows) throws IOException {
        try (TieredTable stored = openAsItIs(stream.device(), nameOfCase, table, rows)) {
            HostTensor found = settled(stream, stored, rows);
            return Tensor.of(stream, new HostTensor(rows.dtype(), found.data().asSlice(0, rows.data().byteSize()), rows.shape()));
        }
    }

    static long[] keys(int count) {
        long[] keys = new long[count];
        Arrays.setAll(keys, i -> i);
        return keys;
    }
}
