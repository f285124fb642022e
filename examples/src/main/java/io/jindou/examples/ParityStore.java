package io.jindou.examples;

import io.jindou.Device;
import io.jindou.HostTensor;
import io.jindou.Stream;
import io.jindou.Tensor;
import io.jindou.store.TieredTable;
import io.jindou.store.TieredTableDesc;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;

/**
 * Where the tables of parity cases are kept in tiers (a device cache of a tenth of the rows, host memory, RocksDB), one directory a table:
 * {@code <store>/<case>/<table>}. A table that is not there yet is written from the case; one that is there is only read, so that
 * a store that something has happened to shows whether its rows are still the right ones.
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
    TieredTable open(Device device, String nameOfCase, String table, HostTensor rows) throws IOException {
        int count = Math.toIntExact(rows.shape()[0]);
        TieredTableDesc desc =
                TieredTableDesc.of(rows.dtype(), Math.toIntExact(rows.shape()[1]), Math.max(1, count / 10), count);
        Path place = directory.resolve(nameOfCase).resolve(table);
        boolean isNew = !Files.exists(place);
        TieredTable opened = TieredTable.open(device, place, desc);
        try {
            if (isNew) {
                opened.update(keys(count), rows);
            }
            return opened;
        } catch (IOException | RuntimeException e) {
            opened.close();
            throw e;
        }
    }

    /** All rows of a case's table, looked up in the store. */
    Tensor rows(Stream stream, String nameOfCase, String table, HostTensor rows) throws IOException {
        Tensor all = Tensor.create(stream.device(), rows.dtype(), rows.shape());
        try (TieredTable stored = open(stream.device(), nameOfCase, table, rows)) {
            stored.lookup(stream, keys(Math.toIntExact(rows.shape()[0])), all);
            stream.synchronize();
            return all;
        } catch (IOException | RuntimeException e) {
            all.close();
            throw e;
        }
    }

    static long[] keys(int count) {
        long[] keys = new long[count];
        Arrays.setAll(keys, i -> i);
        return keys;
    }
}
