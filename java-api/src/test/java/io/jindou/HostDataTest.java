package io.jindou;

import static io.jindou.Rig.refused;
import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.lang.foreign.MemorySegment;
import org.junit.jupiter.api.Test;

class HostDataTest {
    @Test
    void every_bf16_survives_the_way_to_float_and_back() {
        for (int bits = 0; bits < 1 << 16; bits++) {
            float value = HostData.bFloat16ToFloat((short) bits);
            short back = HostData.floatToBFloat16(value);
            if (Float.isNaN(value)) {
                assertTrue(Float.isNaN(HostData.bFloat16ToFloat(back)));
            } else {
                assertEquals((short) bits, back);
            }
        }
    }

    @Test
    void bf16_rounds_to_nearest_even() {
        // Between two neighbours: below, at and above the middle; ties go to the even one.
        for (int bits = 0x3f00; bits < 0x4100; bits++) {
            int low = bits << 16;
            assertEquals((short) bits, HostData.floatToBFloat16(Float.intBitsToFloat(low | 0x7fff)));
            assertEquals((short) (bits + (bits & 1)), HostData.floatToBFloat16(Float.intBitsToFloat(low | 0x8000)));
            assertEquals((short) (bits + 1), HostData.floatToBFloat16(Float.intBitsToFloat(low | 0x8001)));
        }
        assertEquals((short) 0x7f80, HostData.floatToBFloat16(Float.MAX_VALUE));
        assertEquals((short) 0xff80, HostData.floatToBFloat16(Float.NEGATIVE_INFINITY));
        assertEquals((short) 0x8000, HostData.floatToBFloat16(-0f));
        // The NaN whose payload is in the lower half alone, and the one that a carry would make zero.
        assertTrue(Float.isNaN(HostData.bFloat16ToFloat(HostData.floatToBFloat16(Float.intBitsToFloat(0x7f800001)))));
        assertTrue(Float.isNaN(HostData.bFloat16ToFloat(HostData.floatToBFloat16(Float.intBitsToFloat(0xffffffff)))));
    }

    @Test
    void host_tensors_convert_between_dtypes() {
        HostTensor values = HostTensor.of(new float[] {1, -0.5f, 65520, 1e-8f}, 2, 2);
        assertArrayEquals(new float[] {1, -0.5f, Float.POSITIVE_INFINITY, 0}, values.as(DType.F16).toFloats());
        assertArrayEquals(new float[] {1, -0.5f, 65536}, HostTensor.of(DType.BF16, new float[] {1, -0.5f, 65520}).toFloats());
        assertArrayEquals(new double[] {1, -0.5, 65520, 1e-8f}, values.as(DType.F64).toDoubles());
        assertSame(values, values.as(DType.F32));
        assertArrayEquals(new long[] {255, 1}, new HostTensor(DType.U8, MemorySegment.ofArray(new byte[] {-1, 1}), 2).toLongs());
        assertArrayEquals(new long[] {-1, 1}, new HostTensor(DType.I8, MemorySegment.ofArray(new byte[] {-1, 1}), 2).toLongs());
        assertArrayEquals(new long[] {-7}, HostTensor.of(new int[] {-7}, 1).toLongs());
        assertArrayEquals(new long[] {1}, HostTensor.of(new float[] {3}).shape(), "one dimension, as of any other number of values");
        assertEquals(0, HostTensor.of(new float[0]).elements());
        refused(InvalidArgumentException.class, () -> HostTensor.of(new float[3], 2, 2), "'data'", "16 bytes", "12");
        refused(InvalidArgumentException.class, () -> HostTensor.of(new float[0], -1, 0), "'shape'", "[-1, 0]");
        refused(InvalidArgumentException.class, () -> HostTensor.of(new float[0], 1L << 62, 1L << 62), "2^63");
        refused(InvalidArgumentException.class, () -> HostTensor.of(DType.I64, new float[1]), "I64");
        refused(InvalidArgumentException.class, values::toLongs, "F32");
    }
}
