package io.jindou.bench;

import ai.djl.ndarray.NDList;
import io.jindou.DType;
import io.jindou.Device;
import io.jindou.DeviceOptions;
import io.jindou.RqEncode;
import io.jindou.RqEncodeDesc;
import io.jindou.Stream;
import io.jindou.Tensor;
import io.jindou.bench.peers.TorchFunction;
import java.util.concurrent.TimeUnit;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.BenchmarkMode;
import org.openjdk.jmh.annotations.Fork;
import org.openjdk.jmh.annotations.Measurement;
import org.openjdk.jmh.annotations.Mode;
import org.openjdk.jmh.annotations.OutputTimeUnit;
import org.openjdk.jmh.annotations.Param;
import org.openjdk.jmh.annotations.Scope;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.State;
import org.openjdk.jmh.annotations.TearDown;
import org.openjdk.jmh.annotations.Warmup;

/**
 * {@code rq_encode} of {@code n} vectors of {@code dim} by {@code levels} codebooks of {@code codes}. Work: 2 * n * levels * codes * dim
 * FLOPs; the limit does as many f32 multiply-adds in registers. libtorch once by cdist and argmin, as one writes it, once by the
 * matrix product of the same scores.
 */
@BenchmarkMode(Mode.SampleTime)
@OutputTimeUnit(TimeUnit.MILLISECONDS)
@Warmup(iterations = 2, time = 2)
@Measurement(iterations = 5, time = 2)
@Fork(1)
public class RqEncodeBenchmark {
    /** The shape. */
    @State(Scope.Benchmark)
    public static class Shape {
        @Param("100000")
        public int n;

        @Param("64")
        public int dim;

        @Param("3")
        public int levels;

        @Param("256")
        public int codes;

        @Param({"1", "2"})
        public int threads;

        float[] x() {
            return Inputs.gaussian(1, n * dim);
        }

        float[] codebooks() {
            return Inputs.gaussian(2, levels * codes * dim);
        }

        double flops() {
            return 2.0 * n * levels * codes * dim;
        }
    }

    /** Jindou on a device. */
    @State(Scope.Benchmark)
    public static class OnJindou {
        @Param("cpu")
        public String device;

        private Device opened;
        private Stream stream;
        private RqEncode plan;
        private Tensor x;
        private Tensor codebooks;
        private Tensor codes;
        private Tensor residualNorm;

        @Setup
        public void setUp(Shape shape) {
            opened = Device.open(device, DeviceOptions.DEFAULT.withNumThreads(shape.threads));
            stream = Stream.create(opened);
            x = Tensor.of(stream, shape.x(), shape.n, shape.dim);
            codebooks = Tensor.of(stream, shape.codebooks(), shape.levels, shape.codes, shape.dim);
            codes = Tensor.create(opened, DType.I32, shape.n, shape.levels);
            residualNorm = Tensor.create(opened, DType.F32, shape.n);
            plan = RqEncode.plan(opened, RqEncodeDesc.of(codebooks));
        }

        void run() {
            plan.run(stream, x, codebooks, codes, residualNorm);
            stream.synchronize();
        }

        @TearDown
        public void tearDown() {
            opened.close();
        }
    }

    /** libtorch; returns codes and residual norms. */
    @State(Scope.Benchmark)
    public static class OnTorch {
        private TorchFunction cdist;
        private TorchFunction matmul;
        private NDList inputs;

        @Setup
        public void setUp(Shape shape) throws Exception {
            cdist = new TorchFunction(script(shape.levels, "torch.argmin(torch.cdist(r%d, c%d), -1)"), shape.threads);
            matmul = new TorchFunction(
                    script(
                            shape.levels,
                            "torch.argmax(torch.addmm(torch.mul(torch.sum(torch.mul(c%2$d, c%2$d), [1]), -0.5), r%1$d, torch.t(c%2$d)), -1)"),
                    shape.threads);
            inputs = new NDList(
                    cdist.tensor(shape.x(), shape.n, shape.dim),
                    cdist.tensor(shape.codebooks(), shape.levels, shape.codes, shape.dim));
            OnJindou jindou = new OnJindou();
            jindou.device = "cpu";
            jindou.setUp(shape);
            jindou.run();
            float[] expected = jindou.residualNorm.readFloats(jindou.stream);
            jindou.tearDown();
            for (TorchFunction function : new TorchFunction[] {cdist, matmul}) {
                try (NDList out = function.run(inputs)) {
                    Compare.mostlyClose("libtorch", out.get(1).toFloatArray(), expected, 1e-3);
                }
            }
        }

        private static String script(int levels, String nearest) {
            StringBuilder text = new StringBuilder("r0: Tensor, c: Tensor) -> Tuple[Tensor, Tensor]:\n");
            StringBuilder codes = new StringBuilder();
            for (int level = 0; level < levels; level++) {
                text.append("    c%d = torch.select(c, 0, %d)\n".formatted(level, level));
                text.append("    k%d = ".formatted(level)).append(nearest.formatted(level, level)).append('\n');
                text.append("    r%d = torch.sub(r%d, torch.index_select(c%d, 0, k%d))\n".formatted(level + 1, level, level, level));
                codes.append(level == 0 ? "" : ", ").append('k').append(level);
            }
            text.append("    return (torch.stack([%s], 1), torch.norm(r%d, 2, [1]))\n".formatted(codes, levels));
            return text.toString();
        }

        @TearDown
        public void tearDown() {
            cdist.close();
            matmul.close();
        }
    }

    @Benchmark
    public void jindou(OnJindou jindou) {
        jindou.run();
    }

    @Benchmark
    public void libtorchCdist(OnTorch torch) {
        torch.cdist.run(torch.inputs).close();
    }

    @Benchmark
    public void libtorchMatmul(OnTorch torch) {
        torch.matmul.run(torch.inputs).close();
    }

    @Benchmark
    public float limitFma(Shape shape) {
        return Machine.fma(shape.flops(), shape.threads);
    }
}
