package io.jindou.store;

import io.jindou.DType;
import io.jindou.Device;
import io.jindou.HashTable;
import io.jindou.HashTableDesc;
import io.jindou.MissingKeys;
import io.jindou.Stream;
import io.jindou.Tensor;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.List;

/** The memory of one call under way: tensors for its keys and for the rows that were missing, kept for the next call. */
final class Workspace implements AutoCloseable {
    private final List<AutoCloseable> owned = new ArrayList<>();
    private final Arena arena = Arena.ofShared();

    final Tensor keys;
    final Tensor outcomes;
    final Tensor evicted;
    final Tensor fetchedKeys;
    final Tensor fetchedRows;
    /** The rows that this call fetched, by key: a second lookup in it completes the first. */
    final HashTable fetched;
    /** Host memory for fetched rows. */
    final MemorySegment rows;

    private final Device device;
    private Stream stream;

    Workspace(Device device, TieredTableDesc desc) {
        this.device = device;
        int most = desc.maxKeys();
        try {
            keys = own(Tensor.create(device, DType.I64, most));
            outcomes = own(Tensor.create(device, DType.I32, most));
            evicted = own(Tensor.create(device, DType.I64, most));
            fetchedKeys = own(Tensor.create(device, DType.I64, most));
            fetchedRows = own(Tensor.create(device, desc.dtype(), most, desc.dim()));
            fetched = own(HashTable.create(
                    device, HashTableDesc.of(desc.dtype(), desc.dim(), most).withMissing(MissingKeys.KEEP)));
            rows = arena.allocate(most * desc.rowBytes(), 64);
        } catch (RuntimeException | Error e) {
            close();
            throw e;
        }
    }

    /** For a call that brings none, made when it is first asked for. */
    Stream stream() {
        if (stream == null) {
            stream = own(Stream.create(device));
        }
        return stream;
    }

    private <T extends AutoCloseable> T own(T object) {
        owned.add(object);
        return object;
    }

    @Override
    public void close() {
        for (AutoCloseable object : owned) {
            try {
                object.close();
            } catch (Exception e) {
                throw new IllegalStateException(e); // tensors and tables throw none
            }
        }
        owned.clear();
        if (arena.scope().isAlive()) {
            arena.close();
        }
    }
}
