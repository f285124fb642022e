package io.jindou.bench;

import io.jindou.DType;
import java.lang.management.ManagementFactory;
import java.lang.management.ThreadMXBean;
import java.util.LinkedHashMap;
import java.util.Locale;
import java.util.Map;

/**
 * {@link SoftmaxAttentionBenchmark} on a machine that others load, where wall-clock times say little: every contender in turn, again and
 * again, each by the CPU time of the one thread it uses; printed is the least of each. Arguments: tokens, repetitions.
 */
public final class CpuTime {
    private interface Work {
        void run() throws Exception;
    }

    private CpuTime() {}

    /** @param arguments tokens (2048) and repetitions (40) */
    public static void main(String[] arguments) throws Exception {
        SoftmaxAttentionBenchmark.Shape shape = new SoftmaxAttentionBenchmark.Shape();
        shape.tokens = arguments.length > 0 ? Integer.parseInt(arguments[0]) : 2048;
        shape.threads = 1;
        int repetitions = arguments.length > 1 ? Integer.parseInt(arguments[1]) : 40;

        SoftmaxAttentionBenchmark benchmark = new SoftmaxAttentionBenchmark();
        Map<String, Work> works = new LinkedHashMap<>();
        for (DType dtype : new DType[] {DType.F32, DType.BF16}) {
            SoftmaxAttentionBenchmark.OnJindou jindou = new SoftmaxAttentionBenchmark.OnJindou();
            jindou.device = "cpu";
            jindou.dtype = dtype;
            jindou.setUp(shape);
            works.put("jindou " + dtype, () -> benchmark.jindou(jindou, shape));
            SoftmaxAttentionBenchmark.OnTorch torch = new SoftmaxAttentionBenchmark.OnTorch();
            torch.dtype = dtype;
            torch.setUp(shape);
            works.put("libtorch " + dtype, () -> benchmark.libtorch(torch, shape));
        }
        SoftmaxAttentionBenchmark.OnOnnx onnx = new SoftmaxAttentionBenchmark.OnOnnx();
        onnx.setUp(shape);
        works.put("onnxruntime F32", () -> benchmark.onnxruntime(onnx, shape));
        works.put("limit FMA", () -> benchmark.limitFma(shape));
        works.put("limit bf16 dot", () -> benchmark.limitBf16Dot(shape));

        ThreadMXBean threads = ManagementFactory.getThreadMXBean();
        Map<String, Double> least = new LinkedHashMap<>();
        for (int i = 0; i < repetitions; i++) {
            for (Map.Entry<String, Work> work : works.entrySet()) {
                long start = threads.getCurrentThreadCpuTime();
                work.getValue().run();
                least.merge(work.getKey(), (threads.getCurrentThreadCpuTime() - start) * 1e-6, Math::min);
            }
        }
        least.forEach((name, milliseconds) -> System.out.printf(Locale.ROOT, "%-16s %8.2f ms%n", name, milliseconds));
        System.exit(0); // the peers' threads may linger
    }
}
