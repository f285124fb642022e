package io.jindou.bench;

import io.jindou.DType;
import io.jindou.StcaPath;
import java.lang.management.ManagementFactory;
import java.lang.management.ThreadMXBean;
import java.util.LinkedHashMap;
import java.util.Locale;
import java.util.Map;

/**
 * {@link StcaAttentionBenchmark} on a machine that others load, as {@link CpuTime} is for softmax_attention: both ways and libtorch in turn,
 * again and again, each by the CPU time of the one thread it uses; printed is the least of each, for every number of candidates.
 * Arguments: repetitions (5), then numbers of candidates (1 64 300 1000). A {@code -} between them leaves libtorch out:
 * {@code 5 - 32 68 96} looks for the crossing of the two ways alone.
 */
public final class StcaCpuTime {
    private interface Work {
        void run() throws Exception;
    }

    private StcaCpuTime() {}

    /** @param arguments repetitions, {@code -} to leave libtorch out, numbers of candidates */
    public static void main(String[] arguments) throws Exception {
        int repetitions = arguments.length > 0 ? Integer.parseInt(arguments[0]) : 5;
        boolean alone = arguments.length > 1 && arguments[1].equals("-");
        int first = alone ? 2 : 1;
        int[] counts = {1, 64, 300, 1000};
        if (arguments.length > first) {
            counts = new int[arguments.length - first];
            for (int i = 0; i < counts.length; i++) {
                counts[i] = Integer.parseInt(arguments[first + i]);
            }
        }
        for (int candidates : counts) {
            measure(candidates, repetitions, !alone);
        }
        System.exit(0); // the peers' threads may linger
    }

    private static void measure(int candidates, int repetitions, boolean peers) throws Exception {
        StcaAttentionBenchmark.Shape shape = new StcaAttentionBenchmark.Shape();
        shape.candidates = candidates;
        shape.events = 10_000;
        shape.threads = 1;
        Map<String, Work> works = new LinkedHashMap<>();
        Map<String, Double> flops = new LinkedHashMap<>();
        for (DType dtype : new DType[] {DType.F32, DType.BF16}) {
            for (StcaPath path : new StcaPath[] {StcaPath.MATERIALISED, StcaPath.REORDERED}) {
                StcaAttentionBenchmark.OnJindou jindou = new StcaAttentionBenchmark.OnJindou();
                jindou.device = "cpu";
                jindou.dtype = dtype;
                jindou.path = path;
                jindou.setUp(shape);
                String name = "jindou " + dtype + " " + path.toString().toLowerCase(Locale.ROOT);
                works.put(name, jindou::run);
                flops.put(name, shape.flops(path));
            }
            if (peers) {
                StcaAttentionBenchmark.OnTorch torch = new StcaAttentionBenchmark.OnTorch();
                torch.dtype = dtype;
                torch.setUp(shape);
                works.put("libtorch " + dtype, torch::run);
                flops.put("libtorch " + dtype, shape.flops(StcaPath.MATERIALISED));
            }
        }
        works.put("limit FMA", () -> Machine.fma(shape.flops(), 1));
        flops.put("limit FMA", shape.flops());
        works.put("limit bf16 dot", () -> Machine.bf16Dot(shape.flops(), 1));
        flops.put("limit bf16 dot", shape.flops());

        ThreadMXBean threads = ManagementFactory.getThreadMXBean();
        Map<String, Double> least = new LinkedHashMap<>();
        for (int i = 0; i < repetitions; i++) {
            for (Map.Entry<String, Work> work : works.entrySet()) {
                long start = threads.getCurrentThreadCpuTime();
                work.getValue().run();
                least.merge(work.getKey(), (threads.getCurrentThreadCpuTime() - start) * 1e-6, Math::min);
            }
        }
        System.out.printf("%d candidates x %d events%n", candidates, shape.events);
        least.forEach((name, milliseconds) -> System.out.printf(
                Locale.ROOT, "  %-26s %9.2f ms %7.1f GFLOP/s%n", name, milliseconds, flops.get(name) / milliseconds * 1e-6));
    }
}
