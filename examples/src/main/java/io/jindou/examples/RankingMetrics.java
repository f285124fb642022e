package io.jindou.examples;

/** Leave-one-out ranking metrics: hit rate at 10 and 50, NDCG at 10. Not thread-safe. */
final class RankingMetrics {
    private long users;
    private long hits10;
    private long hits50;
    private double gain10;

    /**
     * Counts one user.
     *
     * @param rank number of items scored strictly higher than the target, from 0
     */
    void add(int rank) {
        users++;
        if (rank < 10) {
            hits10++;
            gain10 += Math.log(2) / Math.log(rank + 2.0);
        }
        if (rank < 50) {
            hits50++;
        }
    }

    long users() {
        return users;
    }

    double hitRate10() {
        return (double) hits10 / users;
    }

    double hitRate50() {
        return (double) hits50 / users;
    }

    double ndcg10() {
        return gain10 / users;
    }
}
