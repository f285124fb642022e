package io.jindou;

/**
 * Which keys a query row of {@link SoftmaxAttention} sees. Row i of a sequence with nq queries and nk keys stands at position
 * {@code p_i = nk - nq + i}: the last query beside the last key.
 *
 * <p>Whatever the mask, rows also see the keys of its {@link Always}: the first {@code sink} keys; among the first {@code prefix}
 * positions each other, both ways; and with {@code numGlobal} the first query rows see every key, and the first keys are seen by
 * every row.
 */
public sealed interface AttentionMask {
    /**
     * What is seen whatever the mask.
     *
     * @return the first keys
     */
    Always always();

    /**
     * What rows see whatever the mask.
     *
     * @param sink every row sees the first {@code sink} keys, also a row before them
     * @param prefix a row at a position below {@code prefix} sees the keys below {@code prefix}
     * @param numGlobal the first {@code numGlobal} query rows of a sequence see every key, and its first {@code numGlobal} keys are
     *     seen by every row: the global tokens of LONGER (arXiv 2505.04421)
     */
    record Always(int sink, int prefix, int numGlobal) {
        /** Nothing. */
        public static final Always NOTHING = new Always(0, 0, 0);
    }

    /**
     * Every row sees every key of its sequence.
     *
     * @param always has no effect here
     */
    record None(Always always) implements AttentionMask {
        /**
         * Checks for null.
         *
         * @throws NullPointerException when a component is null, naming it
         */
        public None {
            java.util.Objects.requireNonNull(always, "always");
        }
    }

    /**
     * A row sees the keys up to its own position: {@code j <= p_i}.
     *
     * @param always and these
     */
    record Causal(Always always) implements AttentionMask {
        /**
         * Checks for null.
         *
         * @throws NullPointerException when a component is null, naming it
         */
        public Causal {
            java.util.Objects.requireNonNull(always, "always");
        }
    }

    /**
     * A row sees the keys around its own position: {@code p_i - left <= j <= p_i + right}.
     *
     * @param left keys before its position; -1: all
     * @param right keys behind it; -1: all
     * @param always and these
     */
    record Window(int left, int right, Always always) implements AttentionMask {
        /**
         * Checks for null.
         *
         * @throws NullPointerException when a component is null, naming it
         */
        public Window {
            java.util.Objects.requireNonNull(always, "always");
        }
    }

    /**
     * Every row sees every key.
     *
     * @return the mask
     */
    static AttentionMask none() {
        return new None(Always.NOTHING);
    }

    /**
     * A row sees the keys up to its own position.
     *
     * @return the mask
     */
    static AttentionMask causal() {
        return new Causal(Always.NOTHING);
    }

    /**
     * A row sees the keys around its own position.
     *
     * @param left keys before its position; -1: all
     * @param right keys behind it; -1: all
     * @return the mask
     */
    static AttentionMask window(int left, int right) {
        return new Window(left, right, Always.NOTHING);
    }

    /**
     * The same, and whatever the mask these.
     *
     * @param value the first keys
     * @return the mask
     */
    default AttentionMask withAlways(Always value) {
        return switch (this) {
            case None none -> new None(value);
            case Causal causal -> new Causal(value);
            case Window window -> new Window(window.left, window.right, value);
        };
    }

    /**
     * The same, and every row sees the first keys.
     *
     * @param value how many
     * @return the mask
     */
    default AttentionMask withSink(int value) {
        return withAlways(new Always(value, always().prefix(), always().numGlobal()));
    }

    /**
     * The same, and the first positions see each other both ways.
     *
     * @param value how many
     * @return the mask
     */
    default AttentionMask withPrefix(int value) {
        return withAlways(new Always(always().sink(), value, always().numGlobal()));
    }

    /**
     * The same with global rows and keys.
     *
     * @param value how many lead the queries and the keys of each sequence
     * @return the mask
     */
    default AttentionMask withNumGlobal(int value) {
        return withAlways(new Always(always().sink(), always().prefix(), value));
    }
}
