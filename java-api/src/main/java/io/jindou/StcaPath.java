package io.jindou;

import io.jindou.bindings.JindouAbi;

/** In which of two algebraically equal ways {@link StcaAttention} computes. */
public enum StcaPath {
    /** The way that takes less work for as many candidates as the plan allows a user; {@link Plan#describe()} says which that is. */
    AUTO(JindouAbi.JD_STCA_AUTO()),
    /** Keys and values are projected from the events and then attended to. */
    MATERIALISED(JindouAbi.JD_STCA_MATERIALISED()),
    /** Queries are projected once more, and all heads attend to the events themselves: keys and values never exist. */
    REORDERED(JindouAbi.JD_STCA_REORDERED());

    final int code;

    StcaPath(int code) {
        this.code = code;
    }
}
