package io.jindou.examples;

import io.jindou.DType;
import io.jindou.Device;
import io.jindou.HostTensor;
import io.jindou.Stream;
import io.jindou.Tensor;
import io.jindou.store.Durability;
import io.jindou.store.TierStatistics;
import io.jindou.store.TieredTable;
import io.jindou.store.TieredTableDesc;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.stream.LongStream;

/**
 * The embeddings that an event is the sum of, its item's (times sqrt(D)) and its position's, as one table for {@code embedding_bag}: a bag
 * of two rows an event.
 */
abstract class EventRows implements AutoCloseable {
    private final Tensor table;

    private EventRows(Tensor table) {
        this.table = table;
    }

    /** {@code [rows, D]}. */
    Tensor table() {
        return table;
    }

    /** Two rows of the table an event; may fill the table first, in the order of the stream. */
    abstract long[] bags(long[] items, int[] positions);

    @Override
    public void close() {
        table.close();
    }

    /** All items on the device, then positions. */
    static EventRows onDevice(HstuModel model, Stream stream) throws IOException {
        float[] items = scaledItems(model), positions = model.weights().get("position.weight").toFloats();
        float[] rows = Arrays.copyOf(items, items.length + positions.length);
        System.arraycopy(positions, 0, rows, items.length, positions.length);
        int dim = model.config().embeddingDim(), firstPosition = items.length / dim;
        return new EventRows(Tensor.of(stream, rows, rows.length / dim, dim)) {
            @Override
            long[] bags(long[] items, int[] positions) {
                long[] bags = new long[2 * items.length];
                for (int i = 0; i < items.length; i++) {
                    bags[2 * i] = items[i];
                    bags[2 * i + 1] = firstPosition + positions[i];
                }
                return bags;
            }

            @Override
            public String toString() {
                return "on the device";
            }
        };
    }

    /** A row for each event of a batch, looked up in a tiered table whose device cache holds a tenth of the items; then positions. */
    static EventRows tiered(HstuModel model, Device device, Stream stream, long maxEvents, Path directory) throws IOException {
        int dim = model.config().embeddingDim();
        float[] items = scaledItems(model), positions = model.weights().get("position.weight").toFloats();
        int numItems = items.length / dim;
        TieredTableDesc desc =
                TieredTableDesc.of(DType.F32, dim, numItems / 10, Math.toIntExact(maxEvents)).withDurability(Durability.BUFFERED);
        TieredTable store = TieredTable.open(device, directory, desc);
        Tensor rows = null;
        try {
            for (int first = 0; first < numItems; first += desc.maxKeys()) {
                fillOnce(store, stream, items, first, Math.min(numItems, first + desc.maxKeys()), dim);
            }
            rows = Tensor.create(device, DType.F32, maxEvents + positions.length / dim, dim);
            try (Tensor last = rows.slice(0, maxEvents, maxEvents + positions.length / dim)) {
                last.write(stream, positions);
            }
        } catch (IOException | RuntimeException e) {
            store.close();
            if (rows != null) {
                rows.close();
            }
            throw e;
        }
        TierStatistics filled = store.statistics(); // what filling looked up is no history
        return new EventRows(rows) {
            @Override
            long[] bags(long[] items, int[] positions) {
                long[] bags = new long[2 * items.length];
                for (int i = 0; i < items.length; i++) {
                    bags[2 * i] = i;
                    bags[2 * i + 1] = maxEvents + positions[i];
                }
                try (Tensor target = table().slice(0, 0, items.length)) {
                    store.lookup(stream, items, target);
                } catch (IOException e) {
                    throw new UncheckedIOException(e);
                }
                return bags;
            }

            @Override
            public void close() {
                super.close();
                store.close();
            }

            @Override
            public String toString() {
                TierStatistics now = store.statistics();
                long keys = now.keys() - filled.keys(), hits = now.deviceHits() - filled.deviceHits();
                return String.format(
                        "tiered, a device cache of %,d of %,d rows: %.1f%% hits, %,d rows from host memory, %,d from disk",
                        desc.deviceRows(),
                        numItems,
                        keys == 0 ? 100 : 100.0 * hits / keys,
                        now.hostHits() - filled.hostHits(),
                        now.storeHits() - filled.storeHits());
            }
        };
    }

    /** A directory that has not all of these rows of the model gets them. */
    private static void fillOnce(TieredTable store, Stream stream, float[] items, int first, int end, int dim) throws IOException {
        long[] keys = LongStream.range(first, end).toArray();
        float[] rows = Arrays.copyOfRange(items, first * dim, end * dim);
        try (Tensor found = Tensor.create(stream.device(), DType.F32, keys.length, dim)) {
            store.lookup(stream, keys, found);
            if (!Arrays.equals(found.readFloats(stream), rows)) {
                store.update(keys, HostTensor.of(rows, keys.length, dim));
            }
        }
    }

    private static float[] scaledItems(HstuModel model) throws IOException {
        float[] items = model.weights().get("item.weight").toFloats();
        float scale = (float) Math.sqrt(model.config().embeddingDim());
        for (int i = 0; i < items.length; i++) {
            items[i] *= scale;
        }
        return items;
    }
}
