package io.jindou;

/**
 * A hidden layer of {@link DinAttention}: {@code f(weight x + bias)}. Everything is {@link DType#F32}.
 *
 * @param weight {@code [units, inputs]}
 * @param bias {@code [units]}
 * @param slope {@code [units]} with {@link DinActivation.Prelu} and {@link DinActivation.Dice}; else null
 * @param mean {@code [units]} with {@link DinActivation.Dice}; else null
 * @param variance {@code [units]} with {@link DinActivation.Dice}; else null
 */
public record DinLayer(Tensor weight, Tensor bias, Tensor slope, Tensor mean, Tensor variance) {
    /**
     * For {@link DinActivation.Sigmoid}.
     *
     * @param weight as above
     * @param bias as above
     * @return the layer
     */
    public static DinLayer sigmoid(Tensor weight, Tensor bias) {
        return new DinLayer(weight, bias, null, null, null);
    }

    /**
     * For {@link DinActivation.Prelu}.
     *
     * @param weight as above
     * @param bias as above
     * @param slope as above
     * @return the layer
     */
    public static DinLayer prelu(Tensor weight, Tensor bias, Tensor slope) {
        return new DinLayer(weight, bias, slope, null, null);
    }

    /**
     * For {@link DinActivation.Dice}.
     *
     * @param weight as above
     * @param bias as above
     * @param slope as above
     * @param mean as above
     * @param variance as above
     * @return the layer
     */
    public static DinLayer dice(Tensor weight, Tensor bias, Tensor slope, Tensor mean, Tensor variance) {
        return new DinLayer(weight, bias, slope, mean, variance);
    }
}
