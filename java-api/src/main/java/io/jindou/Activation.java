package io.jindou;

/** What {@link Blocks#linear} applies to the product and bias, elementwise. */
public enum Activation {
    /** Nothing. */
    IDENTITY(0),
    /** {@code x * sigmoid(x)}. */
    SILU(1);

    final int code;

    Activation(int code) {
        this.code = code;
    }
}
