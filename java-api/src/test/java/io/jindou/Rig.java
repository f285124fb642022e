package io.jindou;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.ArrayDeque;
import java.util.Deque;
import java.util.Random;
import java.util.function.Supplier;
import org.junit.jupiter.api.function.Executable;

/**
 * A device and a stream for one test. Closing it closes what the test made, then proves that the library still works and that no
 * object and no byte of device memory was lost.
 */
final class Rig implements AutoCloseable {
    final Device device;
    final Stream stream;
    private final Deque<AutoCloseable> opened = new ArrayDeque<>();
    /** Rigs open now; a test may need two, and only the last to close can tell what is lost. */
    private static int open;
    private static long liveBefore;

    Rig(String deviceName) {
        this(deviceName, DeviceOptions.DEFAULT);
    }

    Rig(String deviceName, DeviceOptions options) {
        if (open == 0) {
            liveBefore = Jindou.liveObjects();
        }
        device = Device.open(deviceName, options);
        stream = Stream.create(device);
        open++;
    }

    <T extends AutoCloseable> T keep(T object) {
        opened.push(object);
        return object;
    }

    /** Keeps the plan; null, and a line in the log, where a device other than the cpu has no kernel for it. */
    <T extends AutoCloseable> T planned(Supplier<T> plan) {
        try {
            return keep(plan.get());
        } catch (UnsupportedException missing) {
            if (device.name().equals("cpu")) {
                throw missing;
            }
            System.out.println("[ REFUSED  ] by " + device.name() + ", not tested: " + missing.getMessage());
            return null;
        }
    }

    Tensor floats(float[] values, long... shape) {
        return keep(Tensor.of(stream, values, shape));
    }

    Tensor floats(DType dtype, float[] values, long... shape) {
        return keep(Tensor.of(stream, dtype, values, shape));
    }

    Tensor longs(long... values) {
        return keep(Tensor.of(stream, values, values.length));
    }

    Tensor ints(int... values) {
        return keep(Tensor.of(stream, values, values.length));
    }

    /** A tensor full of NaN, so that what a kernel leaves out is seen. */
    Tensor poisoned(DType dtype, long... shape) {
        Tensor tensor = keep(Tensor.create(device, dtype, shape));
        tensor.fill(stream, 0xff);
        return tensor;
    }

    JaggedTensor bags(long[]... rows) {
        return keep(JaggedTensor.of(stream, rows));
    }

    static float[] random(Random random, long... shape) {
        long count = 1;
        for (long dimension : shape) {
            count *= dimension;
        }
        float[] values = new float[(int) count];
        for (int i = 0; i < values.length; i++) {
            values[i] = random.nextFloat(-1, 1);
        }
        return values;
    }

    /** The call must throw exactly this, with a message that contains every fragment. */
    static <T extends Throwable> T refused(Class<T> type, Executable call, String... fragments) {
        T thrown = assertThrows(type, call);
        assertEquals(type, thrown.getClass());
        for (String fragment : fragments) {
            assertTrue(
                    String.valueOf(thrown.getMessage()).contains(fragment),
                    () -> "expected \"" + fragment + "\" in \"" + thrown.getMessage() + "\"");
        }
        return thrown;
    }

    /** An ordinary run gives its ordinary result. */
    void stillWorks() {
        try (Tensor table = Tensor.of(stream, new float[] {1, 2, 3, 4, 5, 6, 7, 8}, 2, 4);
                EmbeddingBag bag = EmbeddingBag.plan(device, EmbeddingBagDesc.of(table, Pooling.SUM, 2, 3));
                JaggedTensor ids = JaggedTensor.of(stream, new long[] {0, 1}, new long[] {1});
                Tensor out = Tensor.create(device, DType.F32, 2, 4)) {
            bag.run(stream, ids, out);
            assertArrayEquals(new float[] {6, 8, 10, 12, 5, 6, 7, 8}, out.readFloats(stream));
        }
    }

    @Override
    public void close() {
        try {
            stillWorks();
        } finally {
            for (AutoCloseable object : opened) {
                try {
                    object.close();
                } catch (Exception e) {
                    throw new AssertionError(e);
                }
            }
            long used = device.memory().usedBytes();
            stream.close();
            device.close();
            open--;
            assertEquals(0, used, "bytes of device memory lost");
            if (open == 0) {
                assertEquals(liveBefore, Jindou.liveObjects(), "objects lost");
            }
        }
    }
}
