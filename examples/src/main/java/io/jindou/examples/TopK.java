package io.jindou.examples;

import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;

/** Host-side selection over one row of scores. */
final class TopK {
    private TopK() {}

    /**
     * The k largest scores, in descending order; ties go to the lower index.
     *
     * @param scores f32 scores
     * @param begin index of the row's first score
     * @param count scores in the row
     * @param indices receives indices within the row; its length is k
     * @param values receives the scores
     * @return how many were found: less than k only when the row has fewer finite scores
     */
    static int select(MemorySegment scores, long begin, int count, int[] indices, float[] values) {
        int k = indices.length;
        int found = 0;
        float worst = Float.NEGATIVE_INFINITY;
        for (int i = 0; i < count; i++) {
            float score = scores.getAtIndex(ValueLayout.JAVA_FLOAT, begin + i);
            if (!(score > worst)) {
                continue;
            }
            int at = found < k ? found++ : k - 1;
            while (at > 0 && values[at - 1] < score) {
                values[at] = values[at - 1];
                indices[at] = indices[at - 1];
                at--;
            }
            values[at] = score;
            indices[at] = i;
            if (found == k) {
                worst = values[k - 1];
            }
        }
        return found;
    }

    /** Number of scores in a row strictly greater than {@code threshold}. */
    static int countAbove(MemorySegment scores, long begin, int count, float threshold) {
        int above = 0;
        for (int i = 0; i < count; i++) {
            above += scores.getAtIndex(ValueLayout.JAVA_FLOAT, begin + i) > threshold ? 1 : 0;
        }
        return above;
    }
}
