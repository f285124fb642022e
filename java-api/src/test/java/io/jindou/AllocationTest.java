package io.jindou;

import static org.junit.jupiter.api.Assertions.assertEquals;

import com.sun.management.ThreadMXBean;
import java.lang.management.ManagementFactory;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** Once the JIT compiler has seen it, a run allocates nothing on the Java heap. */
class AllocationTest {
    private static final ThreadMXBean THREADS = (ThreadMXBean) ManagementFactory.getThreadMXBean();
    private static final int RUNS = 10_000;
    /** An emulated kernel is slow, and the Java code is the same as elsewhere. */
    private static final int EMULATED_RUNS = 500;

    @ParameterizedTest
    @MethodSource("io.jindou.TestDevices#names")
    void runs_allocate_nothing(String name) throws Exception {
        int runs = name.equals("simt") ? EMULATED_RUNS : RUNS;
        try (Rig rig = new Rig(name)) {
            Stream stream = rig.stream;
            Tensor table = rig.floats(new float[8], 2, 4);
            EmbeddingBag bag = rig.keep(EmbeddingBag.plan(rig.device, EmbeddingBagDesc.of(table, Pooling.SUM, 1, 1)));
            JaggedTensor ids = rig.bags(new long[] {1});
            Tensor pooled = rig.keep(Tensor.create(rig.device, DType.F32, 1, 4));
            JaggedTensor rows = new JaggedTensor(rig.floats(new float[32], 1, 1, 32), rig.longs(0, 1));
            Tensor result = rig.keep(Tensor.create(rig.device, DType.F32, 1, 1, 32));
            TargetAttention target =
                    rig.keep(TargetAttention.plan(rig.device, TargetAttentionDesc.of(DType.F32, 1, 32, 1, 1, 1)));
            HstuAttention hstu = rig.keep(HstuAttention.plan(rig.device, HstuAttentionDesc.of(DType.F32, 1, 32, 1, 1, 1)));
            Tensor x = rig.floats(new float[4], 1, 4);
            Graph graph = rig.keep(Graph.capture(stream, () -> Blocks.l2Normalize(stream, x, 1, x)));

            allocatesNothing(runs, "EmbeddingBag.run", () -> bag.run(stream, ids, pooled));
            allocatesNothing(runs, "TargetAttention.run", () -> target.run(stream, rows, rows, rows.values(), result));
            allocatesNothing(runs, "HstuAttention.run", () -> hstu.run(stream, rows, rows.values(), rows.values(), result));
            allocatesNothing(runs, "Blocks.l2Normalize", () -> Blocks.l2Normalize(stream, x, 1, x));
            allocatesNothing(runs, "Graph.launch", () -> graph.launch(stream));
            allocatesNothing(runs, "Stream.synchronize", stream::synchronize);
        }
    }

    /** The first batches are compiled on the way; one that allocates nothing must come. */
    private static void allocatesNothing(int runs, String what, Runnable run) {
        long allocated = -1;
        for (int batch = 0; batch < 20 && allocated != 0; batch++) {
            long before = THREADS.getCurrentThreadAllocatedBytes();
            for (int i = 0; i < runs; i++) {
                run.run();
            }
            allocated = THREADS.getCurrentThreadAllocatedBytes() - before;
        }
        assertEquals(0, allocated, what + ": bytes allocated by " + runs + " calls");
    }
}
