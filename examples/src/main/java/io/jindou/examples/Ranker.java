package io.jindou.examples;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.Arrays;
import java.util.HashSet;
import java.util.List;
import java.util.Set;

/** From scores to rankings: excludes what a user has already seen, finds the best items, or the rank of a known next item. */
final class Ranker implements AutoCloseable {
    /** The best items of one user, best first. */
    record Ranking(int[] items, float[] scores) {}

    private final HstuRetriever retriever;
    private final Arena arena = Arena.ofConfined();
    private final MemorySegment scores;

    Ranker(HstuRetriever retriever) {
        this.retriever = retriever;
        scores = arena.allocate(4L * retriever.maxUsers() * retriever.rowLength(), 64);
    }

    /** The k best items for each user that are not in their history. */
    Ranking[] top(List<int[]> histories, int k) {
        score(histories);
        Ranking[] rankings = new Ranking[histories.size()];
        for (int b = 0; b < rankings.length; b++) {
            exclude(b, histories.get(b), -1);
            int[] items = new int[k];
            float[] values = new float[k];
            int found = TopK.select(scores, row(b), retriever.rowLength(), items, values);
            rankings[b] = new Ranking(Arrays.copyOf(items, found), Arrays.copyOf(values, found));
        }
        return rankings;
    }

    /** How many items score strictly higher than each user's target; items of the history do not compete. */
    int[] ranks(List<int[]> histories, int[] targets) {
        score(histories);
        int[] ranks = new int[targets.length];
        for (int b = 0; b < ranks.length; b++) {
            exclude(b, histories.get(b), targets[b]);
            float target = scores.getAtIndex(ValueLayout.JAVA_FLOAT, row(b) + targets[b]);
            ranks[b] = TopK.countAbove(scores, row(b), retriever.rowLength(), target);
        }
        return ranks;
    }

    private void score(List<int[]> histories) {
        retriever.score(histories, scores.asSlice(0, 4L * histories.size() * retriever.rowLength()));
    }

    private long row(int user) {
        return (long) user * retriever.rowLength();
    }

    private void exclude(int user, int[] history, int target) {
        scores.setAtIndex(ValueLayout.JAVA_FLOAT, row(user), Float.NEGATIVE_INFINITY); // padding
        for (int item : history) {
            if (item != target) {
                scores.setAtIndex(ValueLayout.JAVA_FLOAT, row(user) + item, Float.NEGATIVE_INFINITY);
            }
        }
    }

    /**
     * Histories drawn from the model itself: each event is one of the {@code choices} best next items, drawn with
     * probability proportional to exp(score / temperature). The same seed gives the same histories on devices that agree on scores.
     */
    List<int[]> sample(int users, int length, long seed) {
        final int choices = 50;
        final double temperature = 0.05;
        java.util.Random random = new java.util.Random(seed);
        int[][] histories = new int[users][];
        Set<Integer> first = new HashSet<>();
        for (int b = 0; b < users; b++) {
            int item;
            do {
                item = 1 + random.nextInt(retriever.rowLength() - 1);
            } while (!first.add(item));
            histories[b] = new int[] {item};
        }
        for (int t = 1; t < length; t++) {
            for (int from = 0; from < users; from += retriever.maxUsers()) {
                int to = Math.min(users, from + retriever.maxUsers());
                Ranking[] next = top(Arrays.asList(histories).subList(from, to), choices);
                for (int b = from; b < to; b++) {
                    int[] grown = Arrays.copyOf(histories[b], t + 1);
                    grown[t] = draw(next[b - from], temperature, random);
                    histories[b] = grown;
                }
            }
        }
        return Arrays.asList(histories);
    }

    private static int draw(Ranking ranking, double temperature, java.util.Random random) {
        float[] scores = ranking.scores();
        double[] cumulative = new double[scores.length];
        double total = 0;
        for (int i = 0; i < scores.length; i++) {
            total += Math.exp((scores[i] - scores[0]) / temperature);
            cumulative[i] = total;
        }
        double at = random.nextDouble() * total;
        int i = 0;
        while (i < scores.length - 1 && cumulative[i] < at) {
            i++;
        }
        return ranking.items()[i];
    }

    @Override
    public void close() {
        arena.close();
    }
}
