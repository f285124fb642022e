package io.jindou;

import io.jindou.bindings.JindouAbi;

/** What {@link Pooling#MEAN} divides by. */
public enum MeanDenominator {
    /** The number of valid ids of the bag or, weighted, the sum of their weights. */
    VALID(JindouAbi.JD_MEAN_VALID()),
    /** The length of the bag, skipped ids included. */
    LENGTH(JindouAbi.JD_MEAN_LENGTH());

    final int code;

    MeanDenominator(int code) {
        this.code = code;
    }
}
