package io.jindou.bench;

import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;

/** Memory read in order, a load a cache line: what an operator that reads so many bytes once cannot beat. */
final class ReadLimit {
    private static final long PAGE = 4096;

    private final MemorySegment memory;
    private final MemorySegment pages;
    private final long count;

    ReadLimit(long bytes) {
        count = (bytes + PAGE - 1) / PAGE;
        memory = Machine.allocate(count * PAGE).fill((byte) 1);
        pages = Machine.allocate(8 * count);
        for (long i = 0; i < count; i++) {
            pages.setAtIndex(ValueLayout.JAVA_LONG, i, i);
        }
    }

    long read(int threads) {
        return Machine.gather(memory, PAGE, pages, count, 2, threads);
    }
}
