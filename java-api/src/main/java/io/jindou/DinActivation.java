package io.jindou;

/** The activation of the hidden units of {@link DinAttention}. */
public sealed interface DinActivation {

    /** {@code 1 / (1 + exp(-x))}. */
    record Sigmoid() implements DinActivation {}

    /** {@code max(x, 0) + slope * min(x, 0)}, a slope for each unit. */
    record Prelu() implements DinActivation {}

    /**
     * Dice at inference: {@code p * x + (1 - p) * slope * x} with {@code p = sigmoid((x - mean) / sqrt(variance + eps))}, slope and
     * statistics of training for each unit.
     *
     * @param eps added to the variance; finite, above 0
     */
    record Dice(float eps) implements DinActivation {}

    /**
     * Sigmoid.
     *
     * @return the activation
     */
    static DinActivation sigmoid() {
        return new Sigmoid();
    }

    /**
     * PReLU.
     *
     * @return the activation
     */
    static DinActivation prelu() {
        return new Prelu();
    }

    /**
     * Dice.
     *
     * @param eps added to the variance
     * @return the activation
     */
    static DinActivation dice(float eps) {
        return new Dice(eps);
    }
}
