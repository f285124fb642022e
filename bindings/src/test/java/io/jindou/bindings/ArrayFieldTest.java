package io.jindou.bindings;

import static org.junit.jupiter.api.Assertions.assertEquals;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import org.junit.jupiter.api.Test;

/** Indexed accessors of array fields reach the field, not the start of the struct (older revisions of jextract got this wrong). */
class ArrayFieldTest {
    @Test
    void anIndexedAccessorStartsAtItsField() {
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment info = jd_tensor_info.allocate(arena);
            for (long i = 0; i < jd_tensor_info.shape$dimensions()[0]; i++) {
                jd_tensor_info.shape(info, i, 100 + i);
                jd_tensor_info.strides(info, i, 200 + i);
            }
            for (long i = 0; i < jd_tensor_info.shape$dimensions()[0]; i++) {
                assertEquals(100 + i, info.get(ValueLayout.JAVA_LONG, jd_tensor_info.shape$offset() + 8 * i));
                assertEquals(200 + i, info.get(ValueLayout.JAVA_LONG, jd_tensor_info.strides$offset() + 8 * i));
                assertEquals(100 + i, jd_tensor_info.shape(info, i));
            }
            assertEquals(0, jd_tensor_info.struct_size(info), "nothing else was written");
        }
    }
}
