package io.jindou;

/**
 * Which rows of a sequence see which in {@link HstuAttention}: the mask of generative-recommenders.
 *
 * <p>Of a sequence of n rows with t targets: {@code id(i) = c > 0 ? max(i - c + 1, 0) : i},
 * {@code max_id = (c > 0 ? n - c + 1 : n) - t}, {@code id(i) = min(id(i), max_id)}. Row i sees row j when {@code i == j} or
 * {@code id(i) > id(j)} (not causal: {@code id(i) != id(j)}). With a window w also {@code id(i) - id(j) <= w} must hold (not
 * causal: {@code |id(i) - id(j)| <= w}), unless, with f = {@code minFullAttnSeqLen} above 0, {@code id(i) >= max_id - f}. With
 * contexts rows of id 0 see every row with {@code id(j) < max_id} besides: the history, no target. Targets share one id: they
 * see the history and not each other. Far rows do not see the contexts through a window.
 *
 * <p>{@code _get_valid_attn_mask} of generative-recommenders; Zhai et al., arXiv 2402.17152.
 *
 * @param causal whether a row sees earlier rows only
 * @param contextualSeqLen c: leading rows that see the whole history; 0: none
 * @param maxAttnLen a row sees at most this far back; 0: no window
 * @param minFullAttnSeqLen the last rows of the history and the targets ignore the window; 0: none do
 */
public record HstuMask(boolean causal, int contextualSeqLen, int maxAttnLen, int minFullAttnSeqLen) {
    private static final HstuMask CAUSAL = new HstuMask(true, 0, 0, 0);

    /**
     * Every row sees itself and what is before it.
     *
     * @return the mask
     */
    public static HstuMask causalOnly() {
        return CAUSAL;
    }

    /**
     * The same with contextual rows.
     *
     * @param value leading rows that see the whole history
     * @return the mask
     */
    public HstuMask withContextualSeqLen(int value) {
        return new HstuMask(causal, value, maxAttnLen, minFullAttnSeqLen);
    }

    /**
     * The same with a window.
     *
     * @param value how far back a row sees; 0: no window
     * @return the mask
     */
    public HstuMask withMaxAttnLen(int value) {
        return new HstuMask(causal, contextualSeqLen, value, minFullAttnSeqLen);
    }

    /**
     * The same with rows that ignore the window.
     *
     * @param value how many rows before the targets
     * @return the mask
     */
    public HstuMask withMinFullAttnSeqLen(int value) {
        return new HstuMask(causal, contextualSeqLen, maxAttnLen, value);
    }
}
