package io.jindou;

import static io.jindou.Rig.refused;
import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

class TensorTest {
    @ParameterizedTest
    @MethodSource("io.jindou.TestDevices#names")
    void values_come_back_as_written(String name) throws Exception {
        try (Rig rig = new Rig(name)) {
            assertArrayEquals(new float[] {1, -2, 3.5f}, rig.floats(new float[] {1, -2, 3.5f}).readFloats(rig.stream));
            assertArrayEquals(new long[] {1, -2, Long.MAX_VALUE}, rig.longs(1, -2, Long.MAX_VALUE).readLongs(rig.stream));
            assertArrayEquals(new int[] {1, -2, Integer.MIN_VALUE}, rig.ints(1, -2, Integer.MIN_VALUE).readInts(rig.stream));
            assertArrayEquals(new long[] {1, -2}, rig.ints(1, -2).readLongs(rig.stream));
            assertArrayEquals(
                    new float[] {1, 1.0078125f, -0.25f},
                    rig.floats(DType.BF16, new float[] {1, 1.0078125f, -0.25f}).readFloats(rig.stream));
            assertArrayEquals(
                    new float[] {1, 1.0009765625f, -0.25f},
                    rig.floats(DType.F16, new float[] {1, 1.0009765625f, -0.25f}).readFloats(rig.stream));
            assertEquals(0, rig.floats(new float[0], 0, 7).readFloats(rig.stream).length);
            assertEquals(1, rig.keep(Tensor.create(rig.device, DType.F32)).elements());
        }
    }

    @ParameterizedTest
    @MethodSource("io.jindou.TestDevices#names")
    void shape_strides_and_size_are_told(String name) throws Exception {
        try (Rig rig = new Rig(name)) {
            Tensor tensor = rig.keep(Tensor.create(rig.device, DType.BF16, 2, 3, 4));
            assertArrayEquals(new long[] {2, 3, 4}, tensor.shape());
            assertArrayEquals(new long[] {12, 4, 1}, tensor.strides());
            assertEquals(48, tensor.sizeBytes());
            assertEquals(24, tensor.elements());
            assertEquals(3, tensor.rank());
            assertEquals(3, tensor.dim(1));
            assertEquals(DType.BF16, tensor.dtype());
            assertTrue(tensor.isOwned());
            assertFalse(tensor.isReadOnly());
            assertEquals(0, tensor.address() % 256);
            assertTrue(rig.device.memory().usedBytes() >= 48);
        }
    }

    @ParameterizedTest
    @MethodSource("io.jindou.TestDevices#names")
    void views_share_memory_and_keep_it_alive(String name) throws Exception {
        try (Rig rig = new Rig(name)) {
            Tensor whole = Tensor.of(rig.stream, new float[] {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}, 3, 4);
            Tensor rows = rig.keep(whole.slice(0, 1, 3));
            Tensor columns = rig.keep(whole.slice(1, 2, 4));
            Tensor flat = rig.keep(whole.reshape(2, 6));
            whole.close();
            assertArrayEquals(new float[] {4, 5, 6, 7, 8, 9, 10, 11}, rows.readFloats(rig.stream));
            assertArrayEquals(new long[] {4, 1}, columns.strides());
            assertArrayEquals(new long[] {2, 6}, flat.shape());
            rows.write(rig.stream, new float[] {-4, -5, -6, -7, -8, -9, -10, -11});
            assertArrayEquals(new float[] {0, 1, 2, 3, -4, -5, -6, -7, -8, -9, -10, -11}, flat.readFloats(rig.stream));
            assertEquals(0, rig.keep(flat.slice(0, 2, 2)).elements());
        }
    }

    @ParameterizedTest
    @MethodSource("io.jindou.TestDevices#names")
    void copy_and_fill(String name) throws Exception {
        try (Rig rig = new Rig(name)) {
            Tensor source = rig.floats(new float[] {1, 2, 3, 4}, 2, 2);
            Tensor target = rig.poisoned(DType.F32, 4);
            target.copyFrom(rig.stream, source);
            assertArrayEquals(new float[] {1, 2, 3, 4}, target.readFloats(rig.stream));
            target.fill(rig.stream, 0);
            assertArrayEquals(new float[4], target.readFloats(rig.stream));
        }
    }

    @ParameterizedTest
    @MethodSource("io.jindou.TestDevices#names")
    void memory_of_others_is_wrapped_by_address(String name) throws Exception {
        try (Rig rig = new Rig(name)) {
            Tensor owner = rig.floats(new float[] {1, 2, 3, 4, 5, 6});
            Tensor wrapped = rig.keep(Tensor.wrap(rig.device, owner.address(), DType.F32, 2, 3));
            assertFalse(wrapped.isOwned());
            assertEquals(owner.address(), wrapped.address());
            wrapped.write(rig.stream, new float[] {6, 5, 4, 3, 2, 1});
            assertArrayEquals(new float[] {6, 5, 4, 3, 2, 1}, owner.readFloats(rig.stream));
            Tensor strided =
                    rig.keep(Tensor.wrap(rig.device, owner.address(), DType.F32, new long[] {2, 2}, new long[] {3, 1}));
            assertArrayEquals(new long[] {3, 1}, strided.strides());
            assertEquals(20, strided.sizeBytes());
        }
    }

    @ParameterizedTest
    @MethodSource("io.jindou.TestDevices#names")
    void segments_on_and_off_the_heap(String name) throws Exception {
        try (Rig rig = new Rig(name);
                Arena arena = Arena.ofConfined()) {
            Tensor tensor = rig.poisoned(DType.F32, 3);
            MemorySegment off = arena.allocateFrom(ValueLayout.JAVA_FLOAT, 1, 2, 3);
            tensor.write(rig.stream, off);
            MemorySegment on = MemorySegment.ofArray(new float[3]);
            tensor.read(rig.stream, on);
            assertEquals(-1, on.mismatch(off));
            HostTensor host = tensor.readHost(rig.stream);
            assertArrayEquals(new float[] {1, 2, 3}, host.toFloats());
            assertArrayEquals(new long[] {3}, host.shape());
            // An unaligned source is as good.
            MemorySegment odd = arena.allocate(13, 8).asSlice(1, 12);
            odd.copyFrom(off);
            tensor.write(rig.stream, odd);
            assertArrayEquals(new float[] {1, 2, 3}, tensor.readFloats(rig.stream));
        }
    }

    @ParameterizedTest
    @MethodSource("io.jindou.TestDevices#names")
    void host_segments_are_wrapped_only_where_they_are_device_memory(String name) throws Exception {
        try (Rig rig = new Rig(name);
                Arena arena = Arena.ofConfined()) {
            MemorySegment data = arena.allocate(64, 64);
            if (!rig.device.info().hostMemory()) {
                refused(InvalidArgumentException.class, () -> Tensor.wrap(rig.device, data, DType.F32, 4), "'data'", name);
                return;
            }
            Tensor wrapped = rig.keep(Tensor.wrap(rig.device, data, DType.F32, 4));
            wrapped.write(rig.stream, new float[] {1, 2, 3, 4});
            assertEquals(3, data.getAtIndex(ValueLayout.JAVA_FLOAT, 2));
            refused(InvalidArgumentException.class, () -> Tensor.wrap(rig.device, data, DType.F32, 17), "'data'", "68 bytes", "got 64");
            MemorySegment heap = MemorySegment.ofArray(new float[4]);
            refused(InvalidArgumentException.class, () -> Tensor.wrap(rig.device, heap, DType.F32, 4), "'data'", "heap");

            Tensor constant = rig.keep(Tensor.wrap(rig.device, data.asReadOnly(), DType.F32, 4));
            assertTrue(constant.isReadOnly());
            assertArrayEquals(new float[] {1, 2, 3, 4}, constant.readFloats(rig.stream));
            Tensor view = rig.keep(constant.reshape(1, 4));
            refused(InvalidArgumentException.class, () -> constant.write(rig.stream, new float[4]), "read-only");
            refused(InvalidArgumentException.class, () -> view.fill(rig.stream, 0), "read-only");
            refused(InvalidArgumentException.class, () -> view.copyFrom(rig.stream, wrapped), "'target'", "read-only");
            refused(InvalidArgumentException.class, () -> Blocks.l2Normalize(rig.stream, view, 1e-6f, view), "'out'", "read-only");
        }
    }

    @ParameterizedTest
    @MethodSource("io.jindou.TestDevices#names")
    void bad_shapes_are_refused(String name) throws Exception {
        try (Rig rig = new Rig(name)) {
            Device device = rig.device;
            refused(InvalidArgumentException.class, () -> Tensor.create(device, DType.F32, 2, -1), "'shape'", "[2, -1]");
            refused(InvalidArgumentException.class, () -> Tensor.create(device, DType.F32, 1, 1, 1, 1, 1, 1), "'rank'", "0..5", "6");
            refused(InvalidArgumentException.class, () -> Tensor.create(device, DType.F32, 1L << 40, 1L << 40), "'shape'", "2^63");
            refused(NullPointerException.class, () -> Tensor.create(device, null, 1), "dtype");
            refused(NullPointerException.class, () -> Tensor.create(device, DType.F32, (long[]) null), "shape");
            refused(NullPointerException.class, () -> Tensor.create(null, DType.F32, 1), "'device'");

            Tensor tensor = rig.floats(new float[12], 3, 4);
            refused(InvalidArgumentException.class, () -> tensor.view(8, new long[] {5}, null), "inside the 12 elements", "8..13");
            refused(InvalidArgumentException.class, () -> tensor.view(-1, new long[] {2}, null), "inside");
            refused(InvalidArgumentException.class, () -> tensor.view(0, new long[] {2, 2}, new long[] {11, 1}), "inside");
            refused(InvalidArgumentException.class, () -> tensor.view(0, new long[] {2, 2}, new long[] {-1, 1}), "'strides'", "[-1, 1]");
            refused(InvalidArgumentException.class, () -> tensor.view(0, new long[] {2, 2}, new long[] {1}), "'strides'", "2", "got 1");
            refused(IndexOutOfBoundsException.class, () -> tensor.slice(2, 0, 1), "2");
            refused(IndexOutOfBoundsException.class, () -> tensor.slice(0, 2, 4), "4");
            refused(InvalidArgumentException.class, () -> tensor.reshape(5, 3), "inside");
        }
    }

    @ParameterizedTest
    @MethodSource("io.jindou.TestDevices#names")
    void bad_transfers_are_refused(String name) throws Exception {
        try (Rig rig = new Rig(name);
                Rig other = new Rig(name)) {
            Tensor tensor = rig.floats(new float[12], 3, 4);
            Tensor columns = rig.keep(tensor.slice(1, 0, 2));
            Tensor foreign = other.floats(new float[12], 3, 4);
            Tensor longs = rig.longs(1, 2);
            refused(InvalidArgumentException.class, () -> tensor.write(rig.stream, new float[11]), "'source'", "48 bytes", "44");
            refused(InvalidArgumentException.class,
                    () -> tensor.read(rig.stream, MemorySegment.ofArray(new float[13])), "'target'", "48 bytes", "52");
            refused(InvalidArgumentException.class,
                    () -> tensor.read(rig.stream, MemorySegment.ofArray(new float[12]).asReadOnly()), "'target'", "read-only");
            refused(InvalidArgumentException.class, () -> columns.readFloats(rig.stream), "contiguous", "[4, 1]");
            refused(InvalidArgumentException.class, () -> tensor.readLongs(rig.stream), "'dtype'", "F32");
            refused(InvalidArgumentException.class, () -> longs.readFloats(rig.stream), "'dtype'", "I64");
            refused(InvalidArgumentException.class, () -> longs.readInts(rig.stream), "'dtype'", "I64");
            refused(InvalidArgumentException.class, () -> longs.write(rig.stream, new float[2]), "'dtype'", "I64");
            refused(InvalidArgumentException.class,
                    () -> rig.ints(1, 2).write(rig.stream, new long[] {1, 1L << 31}), "2147483648 at 1");
            refused(InvalidArgumentException.class, () -> tensor.copyFrom(rig.stream, longs), "'source'", "f32", "i64");
            refused(InvalidArgumentException.class, () -> longs.copyFrom(rig.stream, rig.longs(1)), "'source'", "2", "1");
            InvalidArgumentException e = refused(
                    InvalidArgumentException.class, () -> tensor.copyFrom(rig.stream, foreign), "'source'", "belongs to device");
            assertEquals(Status.INVALID_HANDLE, e.status());
            refused(InvalidArgumentException.class, () -> foreign.readFloats(rig.stream), "belongs to device");
            refused(NullPointerException.class, () -> tensor.copyFrom(rig.stream, null), "'source'");
            refused(NullPointerException.class, () -> tensor.readFloats(null), "'stream'");
            refused(NullPointerException.class, () -> Tensor.of((Stream) null, new float[1]), "'stream'");
            refused(InvalidArgumentException.class, () -> Tensor.of(rig.stream, new float[5], 2, 3), "'data'", "24 bytes", "20");
        }
    }

    @ParameterizedTest
    @MethodSource("io.jindou.TestDevices#names")
    void bad_addresses_are_refused(String name) throws Exception {
        try (Rig rig = new Rig(name)) {
            Tensor owner = rig.floats(new float[8]);
            refused(InvalidArgumentException.class, () -> Tensor.wrap(rig.device, 0, DType.F32, 4), "'data'", "NULL");
            refused(InvalidArgumentException.class,
                    () -> Tensor.wrap(rig.device, owner.address() + 1, DType.F32, 4), "'data'", "aligned to 4");
            assertNotEquals(0, rig.keep(Tensor.wrap(rig.device, 0, DType.F32, 0)).handle);
        }
    }
}
