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

    final Prefix keys;
    final Prefix outcomes;
    final Prefix evicted;
    final Prefix fetchedKeys;
    final Prefix fetchedRows;
    /** The rows that this call fetched, by key: a second lookup in it completes the first. Null where the device's rows are written to directly. */
    final HashTable fetched;
    /** Host memory for outcomes, evicted keys and fetched rows. */
    final MemorySegment hostOutcomes;

    final MemorySegment hostEvicted;
    final MemorySegment rows;
    /** For the cache in host memory; null without one. */
    final Prefix hostKeys;

    final Prefix hostFound;
    final Prefix hostRows;
    final MemorySegment hostOutcomesOfHost;

    private final Device device;
    private final boolean inHost;
    private Stream stream;

    /** inHost: the device's rows are written to directly; host: where the cache in host memory is, null: there is none. */
    Workspace(Device device, boolean inHost, Device host, TieredTableDesc desc) {
        this.device = device;
        this.inHost = inHost;
        int most = desc.maxKeys();
        try {
            rows = arena.allocate(most * desc.rowBytes(), 64);
            keys = prefix(Tensor.create(device, DType.I64, most));
            outcomes = prefix(Tensor.create(device, DType.I32, most));
            evicted = prefix(Tensor.create(device, DType.I64, most));
            fetchedKeys = prefix(Tensor.create(device, DType.I64, most));
            hostOutcomes = hostMemoryFor(outcomes.all);
            hostEvicted = hostMemoryFor(evicted.all);
            fetchedRows = prefix(
                    inHost
                            ? Tensor.wrap(device, rows, desc.dtype(), most, desc.dim())
                            : Tensor.create(device, desc.dtype(), most, desc.dim()));
            fetched = inHost
                    ? null
                    : own(HashTable.create(
                            device, HashTableDesc.of(desc.dtype(), desc.dim(), most).withMissing(MissingKeys.KEEP)));
            hostKeys = host == null ? null : prefix(Tensor.create(host, DType.I64, most));
            hostFound = host == null ? null : prefix(Tensor.create(host, DType.I32, most));
            hostRows = host == null ? null : prefix(Tensor.wrap(host, rows, desc.dtype(), most, desc.dim()));
            hostOutcomesOfHost = host == null ? null : hostFound.all.hostMemory();
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

    private MemorySegment hostMemoryFor(Tensor tensor) {
        return inHost ? tensor.hostMemory() : arena.allocate(tensor.sizeBytes(), 64);
    }

    /** What a tensor of the device holds when the stream is done: in `copy`, which is its own memory where that is the host's. */
    MemorySegment toHost(Stream stream, Tensor tensor, MemorySegment copy) {
        if (inHost) {
            stream.synchronize();
        } else {
            tensor.read(stream, copy.asSlice(0, tensor.sizeBytes()));
        }
        return copy;
    }

    private Prefix prefix(Tensor all) {
        return own(new Prefix(all));
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

    /** The first elements of a tensor, or rows; the last such view is kept, because the next call often asks for as many. */
    static final class Prefix implements AutoCloseable {
        final Tensor all;
        private Tensor last;

        private Prefix(Tensor all) {
            this.all = all;
        }

        Tensor first(int n) {
            if (n == all.dim(0)) {
                return all;
            }
            if (last == null || last.dim(0) != n) {
                if (last != null) {
                    last.close();
                }
                last = all.slice(0, 0, n);
            }
            return last;
        }

        @Override
        public void close() {
            if (last != null) {
                last.close();
            }
            all.close();
        }
    }
}
