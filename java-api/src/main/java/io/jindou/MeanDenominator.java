package io.jindou;

/** What {@link Pooling#MEAN} divides by. */
public enum MeanDenominator {
    /** The number of valid ids of the bag or, weighted, the sum of their weights. */
    VALID(0),
    /** The length of the bag, skipped ids included. */
    LENGTH(1);

    final int code;

    MeanDenominator(int code) {
        this.code = code;
    }
}
