package io.jindou;

import io.jindou.bindings.JindouAbi;

/** What {@link Blocks#linear} applies to the product and bias, elementwise. */
public enum Activation {
    /** Nothing. */
    IDENTITY(JindouAbi.JD_LINEAR_IDENTITY()),
    /** {@code x * sigmoid(x)}. */
    SILU(JindouAbi.JD_LINEAR_SILU());

    final int code;

    Activation(int code) {
        this.code = code;
    }
}
