package io.jindou;

import io.jindou.bindings.JindouAbi;

/** How {@link EmbeddingBag} joins the rows of a bag. */
public enum Pooling {
    /** Their (weighted) sum. */
    SUM(JindouAbi.JD_POOL_SUM()),
    /** Their (weighted) mean, see {@link MeanDenominator}; an empty bag gives zeros. */
    MEAN(JindouAbi.JD_POOL_MEAN()),
    /** Their elementwise maximum; an empty bag gives zeros. */
    MAX(JindouAbi.JD_POOL_MAX()),
    /** Not at all: one output row an id. */
    NONE(JindouAbi.JD_POOL_NONE());

    final int code;

    Pooling(int code) {
        this.code = code;
    }
}
