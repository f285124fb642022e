package io.jindou;

/** How {@link EmbeddingBag} joins the rows of a bag. */
public enum Pooling {
    /** Their (weighted) sum. */
    SUM(0),
    /** Their (weighted) mean, see {@link MeanDenominator}; an empty bag gives zeros. */
    MEAN(1),
    /** Their elementwise maximum, NaN where one of them is NaN; an empty bag gives zeros. */
    MAX(2),
    /** Not at all: one output row an id; beside pooled tables where each has a result of its own ({@link EmbeddingBagDesc#splitOut()}). */
    NONE(3);

    final int code;

    Pooling(int code) {
        this.code = code;
    }
}
