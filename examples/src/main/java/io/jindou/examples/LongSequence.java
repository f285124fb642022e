package io.jindou.examples;

import io.jindou.DType;
import io.jindou.Device;
import io.jindou.HostTensor;
import io.jindou.HstuAttention;
import io.jindou.HstuAttentionDesc;
import io.jindou.JaggedTensor;
import io.jindou.Stream;
import io.jindou.TargetAttention;
import io.jindou.TargetAttentionDesc;
import io.jindou.Tensor;
import java.util.Arrays;
import java.util.Random;

/**
 * One user with a long history and many candidates, through {@code target_attention} and {@code hstu_attention}: how long it
 * takes, and how far the results lie from float64.
 */
final class LongSequence {
    private static final int HEADS = 4;
    private static final int DIM = 64;
    private static final float SCALE = (float) (1 / Math.sqrt(DIM));
    private static final int SAMPLED_ROWS = 8;

    /** Time of the fastest run, rate, and the largest absolute difference from float64 over sampled rows. */
    record Result(double millis, double gigaflopsPerSecond, double maxAbsError) {}

    private final Device device;
    private final Stream stream;
    private final DType dtype;
    private final int events;
    private final int candidates;
    private final int runs;

    LongSequence(Device device, Stream stream, DType dtype, int events, int candidates, int runs) {
        this.device = device;
        this.stream = stream;
        this.dtype = dtype;
        this.events = events;
        this.candidates = candidates;
        this.runs = runs;
    }

    Result targetAttention() {
        HostTensor q = random(1, candidates);
        HostTensor k = random(2, events);
        HostTensor v = random(3, events);
        TargetAttentionDesc desc =
                TargetAttentionDesc.of(dtype, HEADS, DIM, 1, candidates, events).withOutDType(DType.F32);
        try (Tensor queries = Tensor.of(stream, q);
                Tensor keys = Tensor.of(stream, k);
                Tensor values = Tensor.of(stream, v);
                Tensor queryOffsets = Tensor.of(stream, new long[] {0, candidates});
                Tensor historyOffsets = Tensor.of(stream, new long[] {0, events});
                Tensor out = Tensor.create(device, DType.F32, candidates, HEADS, DIM);
                TargetAttention plan = TargetAttention.plan(device, desc)) {
            JaggedTensor jaggedQueries = new JaggedTensor(queries, queryOffsets);
            JaggedTensor jaggedKeys = new JaggedTensor(keys, historyOffsets);
            double millis = fastest(() -> plan.run(stream, jaggedQueries, jaggedKeys, values, out));
            double flops = 4.0 * DIM * HEADS * candidates * events;
            float[] got = out.readFloats(stream);
            double error = 0;
            float[] qs = q.toFloats();
            float[] ks = k.toFloats();
            float[] vs = v.toFloats();
            for (int s = 0; s < SAMPLED_ROWS; s++) {
                int row = (int) ((long) s * (candidates - 1) / (SAMPLED_ROWS - 1));
                for (int h = 0; h < HEADS; h++) {
                    error = Math.max(error, difference(got, row, h, softmaxRow(qs, ks, vs, row, h)));
                }
            }
            return new Result(millis, flops / millis / 1e6, error);
        }
    }

    /** Causal over the history, with the candidates as targets. */
    Result hstuAttention() {
        int rows = events + candidates;
        HostTensor q = random(4, rows);
        HostTensor k = random(5, rows);
        HostTensor v = random(6, rows);
        HstuAttentionDesc desc = HstuAttentionDesc.of(dtype, HEADS, DIM, rows, 1, rows).withOutDType(DType.F32);
        try (Tensor queries = Tensor.of(stream, q);
                Tensor keys = Tensor.of(stream, k);
                Tensor values = Tensor.of(stream, v);
                Tensor offsets = Tensor.of(stream, new long[] {0, rows});
                Tensor numTargets = Tensor.of(stream, new int[] {candidates}, 1);
                Tensor out = Tensor.create(device, DType.F32, rows, HEADS, DIM);
                HstuAttention plan = HstuAttention.plan(device, desc)) {
            JaggedTensor jagged = new JaggedTensor(queries, offsets);
            double millis = fastest(() -> plan.run(stream, jagged, keys, values, numTargets, null, out));
            double pairs = events * (events + 1.0) / 2 + candidates * (events + 1.0);
            float[] got = out.readFloats(stream);
            double error = 0;
            float[] qs = q.toFloats();
            float[] ks = k.toFloats();
            float[] vs = v.toFloats();
            for (int s = 0; s < SAMPLED_ROWS; s++) {
                int row = (int) ((long) s * (rows - 1) / (SAMPLED_ROWS - 1));
                for (int h = 0; h < HEADS; h++) {
                    error = Math.max(error, difference(got, row, h, siluRow(qs, ks, vs, row, h)));
                }
            }
            return new Result(millis, 4.0 * DIM * HEADS * pairs / millis / 1e6, error);
        }
    }

    private double fastest(Runnable run) {
        double best = Double.POSITIVE_INFINITY;
        for (int i = 0; i <= runs; i++) {
            long start = System.nanoTime();
            run.run();
            stream.synchronize();
            if (i > 0) { // the first run warms up
                best = Math.min(best, (System.nanoTime() - start) / 1e6);
            }
        }
        return best;
    }

    private HostTensor random(long seed, int rows) {
        Random random = new Random(seed);
        float[] values = new float[rows * HEADS * DIM];
        for (int i = 0; i < values.length; i++) {
            values[i] = (float) random.nextGaussian();
        }
        return HostTensor.of(dtype, values, rows, HEADS, DIM);
    }

    private static double dot(float[] a, int rowA, float[] b, int rowB, int head) {
        double sum = 0;
        for (int d = 0; d < DIM; d++) {
            sum += (double) a[(rowA * HEADS + head) * DIM + d] * b[(rowB * HEADS + head) * DIM + d];
        }
        return sum;
    }

    private double[] softmaxRow(float[] q, float[] k, float[] v, int row, int head) {
        double[] weights = new double[events];
        for (int j = 0; j < events; j++) {
            weights[j] = SCALE * dot(q, row, k, j, head);
        }
        double top = Arrays.stream(weights).max().orElse(0);
        double total = 0;
        for (int j = 0; j < events; j++) {
            weights[j] = Math.exp(weights[j] - top);
            total += weights[j];
        }
        double[] out = new double[DIM];
        for (int j = 0; j < events; j++) {
            add(out, weights[j] / total, v, j, head);
        }
        return out;
    }

    private double[] siluRow(float[] q, float[] k, float[] v, int row, int head) {
        double[] out = new double[DIM];
        double norm = 1.0 / (events + candidates);
        for (int j = 0; j <= row; j++) {
            boolean allowed = j == row || j < Math.min(row, events);
            if (allowed) {
                double s = SCALE * dot(q, row, k, j, head);
                add(out, s / (1 + Math.exp(-s)) * norm, v, j, head);
            }
        }
        return out;
    }

    private static void add(double[] out, double weight, float[] v, int row, int head) {
        for (int d = 0; d < DIM; d++) {
            out[d] += weight * v[(row * HEADS + head) * DIM + d];
        }
    }

    private static double difference(float[] got, int row, int head, double[] expected) {
        double most = 0;
        for (int d = 0; d < DIM; d++) {
            double error = Math.abs(got[(row * HEADS + head) * DIM + d] - expected[d]);
            most = error > most || Double.isNaN(error) ? error : most;
        }
        return most;
    }
}
