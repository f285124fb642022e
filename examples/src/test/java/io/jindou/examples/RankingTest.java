package io.jindou.examples;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;

import java.lang.foreign.MemorySegment;
import java.util.Arrays;
import org.junit.jupiter.api.Test;

class RankingTest {
    private static final MemorySegment SCORES =
            MemorySegment.ofArray(new float[] {9, 9, 1, 5, 5, Float.NEGATIVE_INFINITY, 7, Float.NaN});

    @Test
    void top_k_is_in_order_and_ties_go_to_the_lower_index() {
        int[] indices = new int[4];
        float[] values = new float[4];
        assertEquals(4, TopK.select(SCORES, 2, 6, indices, values));
        assertArrayEquals(new int[] {4, 1, 2, 0}, indices);
        assertArrayEquals(new float[] {7, 5, 5, 1}, values);
    }

    @Test
    void fewer_scores_than_k_come_back_fewer() {
        int[] indices = new int[10];
        assertEquals(6, TopK.select(SCORES, 0, 8, indices, new float[10]));
        assertArrayEquals(new int[] {0, 1, 6, 3, 4, 2}, Arrays.copyOf(indices, 6));
    }

    @Test
    void rank_counts_strictly_higher_scores() {
        assertEquals(3, TopK.countAbove(SCORES, 0, 8, 5));
        assertEquals(0, TopK.countAbove(SCORES, 0, 8, 9));
    }

    @Test
    void metrics_follow_their_definitions() {
        RankingMetrics metrics = new RankingMetrics();
        for (int rank : new int[] {0, 9, 10, 49, 50}) {
            metrics.add(rank);
        }
        assertEquals(5, metrics.users());
        assertEquals(2 / 5.0, metrics.hitRate10(), 1e-12);
        assertEquals(4 / 5.0, metrics.hitRate50(), 1e-12);
        assertEquals((1 + Math.log(2) / Math.log(11)) / 5, metrics.ndcg10(), 1e-12);
    }
}
