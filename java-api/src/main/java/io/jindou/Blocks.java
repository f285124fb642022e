package io.jindou;

import io.jindou.bindings.JindouAbi;
import io.jindou.bindings.jd_l2_normalize_args;
import io.jindou.bindings.jd_layer_norm_args;
import io.jindou.bindings.jd_linear_args;
import java.lang.foreign.MemorySegment;
import java.lang.ref.Reference;

/**
 * Plain operators between the attention operators. {@link DType#F32} but where said so, rank 2, without a plan; they
 * enqueue and return.
 *
 * {@snippet file="io/jindou/DocumentationTest.java" region="blocks"}
 *
 * <p>Row strides are free multiples of 16 bytes, so that a block may read and write a column range ({@link Tensor#slice}) of a wider
 * tensor. {@code out} may be the same tensor as an input where said so; no other overlap. Sums are f32.
 *
 * <p>Layer normalization: Ba et al., arXiv 1607.06450; SiLU: arXiv 1702.03118. All three as in PyTorch.
 */
public final class Blocks {
    private static final int LINEAR_SIZE = (int) jd_linear_args.sizeof();
    private static final int LAYER_NORM_SIZE = (int) jd_layer_norm_args.sizeof();
    private static final int L2_NORMALIZE_SIZE = (int) jd_l2_normalize_args.sizeof();

    private Blocks() {}

    /**
     * {@code out = activation(x W^T + bias) + residual}.
     *
     * @param stream orders the work
     * @param x {@code [n, in]}; in and out multiples of 4
     * @param weight {@code [out, in]}
     * @param bias {@code [out]}, or null
     * @param activation elementwise, after the bias
     * @param residual {@code [n, out]}, or null; may be {@code out}
     * @param out {@code [n, out]}
     * @throws InvalidArgumentException when a tensor breaks a rule of shape, dtype, strides, alignment or overlap; the message names it, and
     *     nothing has run
     * @throws ClosedException when the stream or a tensor is closed
     */
    public static void linear(
            Stream stream, Tensor x, Tensor weight, Tensor bias, Activation activation, Tensor residual, Tensor out) {
        if (activation == null) {
            throw NativeObject.missing("activation");
        }
        Call call = Call.begin();
        try {
            MemorySegment args = call.params;
            jd_linear_args.struct_size(args, LINEAR_SIZE);
            jd_linear_args.activation(args, activation.code);
            jd_linear_args.x(args, NativeObject.handle(x, "x"));
            jd_linear_args.weight(args, NativeObject.handle(weight, "weight"));
            jd_linear_args.bias(args, NativeObject.handleOrNone(bias));
            jd_linear_args.residual(args, NativeObject.handleOrNone(residual));
            jd_linear_args.out(args, Tensor.output(out, "out"));
            call.check(JindouAbi.jd_linear(NativeObject.handle(stream, "stream"), args, call.error));
        } finally {
            call.end();
            Reference.reachabilityFence(stream);
            Reference.reachabilityFence(x);
            Reference.reachabilityFence(weight);
            Reference.reachabilityFence(bias);
            Reference.reachabilityFence(residual);
            Reference.reachabilityFence(out);
        }
    }

    /**
     * {@code out = (x - mean) / sqrt(variance + eps) * weight + bias}, mean and biased variance over a row.
     *
     * @param stream orders the work
     * @param x {@code [n, d]}, d a multiple of 4 up to 8192
     * @param weight {@code [d]}
     * @param bias {@code [d]}
     * @param eps finite, 0 or more
     * @param out {@code [n, d]}; may be {@code x}
     * @throws InvalidArgumentException when a tensor breaks a rule of shape, dtype, strides, alignment or overlap; the message names it, and
     *     nothing has run
     * @throws ClosedException when the stream or a tensor is closed
     */
    public static void layerNorm(Stream stream, Tensor x, Tensor weight, Tensor bias, float eps, Tensor out) {
        layerNorm(stream, x, weight, bias, eps, null, out);
    }

    /**
     * The same, multiplied elementwise by another tensor.
     *
     * @param stream orders the work
     * @param x {@code [n, d]}, d a multiple of 4 up to 8192
     * @param weight {@code [d]}
     * @param bias {@code [d]}
     * @param eps finite, 0 or more
     * @param multiplier {@code [n, d]}, or null
     * @param out {@code [n, d]}; may be {@code x}
     * @throws InvalidArgumentException when a tensor breaks a rule of shape, dtype, strides, alignment or overlap; the message names it, and
     *     nothing has run
     * @throws ClosedException when the stream or a tensor is closed
     */
    public static void layerNorm(
            Stream stream, Tensor x, Tensor weight, Tensor bias, float eps, Tensor multiplier, Tensor out) {
        Call call = Call.begin();
        try {
            MemorySegment args = call.params;
            jd_layer_norm_args.struct_size(args, LAYER_NORM_SIZE);
            jd_layer_norm_args.eps(args, eps);
            jd_layer_norm_args.x(args, NativeObject.handle(x, "x"));
            jd_layer_norm_args.weight(args, NativeObject.handle(weight, "weight"));
            jd_layer_norm_args.bias(args, NativeObject.handle(bias, "bias"));
            jd_layer_norm_args.multiplier(args, NativeObject.handleOrNone(multiplier));
            jd_layer_norm_args.out(args, Tensor.output(out, "out"));
            call.check(JindouAbi.jd_layer_norm(NativeObject.handle(stream, "stream"), args, call.error));
        } finally {
            call.end();
            Reference.reachabilityFence(stream);
            Reference.reachabilityFence(x);
            Reference.reachabilityFence(weight);
            Reference.reachabilityFence(bias);
            Reference.reachabilityFence(multiplier);
            Reference.reachabilityFence(out);
        }
    }

    /**
     * {@code out = x / max(|x|, eps)}, |x| over a row.
     *
     * @param stream orders the work
     * @param x {@code [n, d]} {@link DType#F32}, {@link DType#F16} or {@link DType#BF16}, d a multiple of 4 up to 8192
     * @param eps finite, above 0
     * @param out {@code [n, d]}, any of these dtypes; may be {@code x}
     * @throws InvalidArgumentException when a tensor breaks a rule of shape, dtype, strides, alignment or overlap; the message names it, and
     *     nothing has run
     * @throws ClosedException when the stream or a tensor is closed
     */
    public static void l2Normalize(Stream stream, Tensor x, float eps, Tensor out) {
        Call call = Call.begin();
        try {
            MemorySegment args = call.params;
            jd_l2_normalize_args.struct_size(args, L2_NORMALIZE_SIZE);
            jd_l2_normalize_args.eps(args, eps);
            jd_l2_normalize_args.x(args, NativeObject.handle(x, "x"));
            jd_l2_normalize_args.out(args, Tensor.output(out, "out"));
            call.check(JindouAbi.jd_l2_normalize(NativeObject.handle(stream, "stream"), args, call.error));
        } finally {
            call.end();
            Reference.reachabilityFence(stream);
            Reference.reachabilityFence(x);
            Reference.reachabilityFence(out);
        }
    }
}
