package io.jindou.bench;

import java.util.SplittableRandom;

/** How ids are spread over the rows of a table. */
public enum Ids {
    /** Every row as often as any other. */
    UNIFORM,
    /** Zipf's law with exponent 1.05: row of rank k with a frequency of k^-1.05. Frequent rows lie anywhere in the table. */
    ZIPF;

    private static final double EXPONENT = 1.05;
    /** A prime, so that ranks are spread over all rows. */
    private static final long STEP = 2_654_435_761L;

    /** Ids, the same for the same seed. */
    long[] draw(long seed, int count, long rows) {
        SplittableRandom random = new SplittableRandom(seed);
        long[] ids = new long[count];
        for (int i = 0; i < count; i++) {
            ids[i] = this == UNIFORM ? random.nextLong(rows) : zipf(random, rows) * STEP % rows;
        }
        return ids;
    }

    /** A rank of 0..rows-1 by rejection-inversion (Hörmann, Derflinger 1996). */
    private static long zipf(SplittableRandom random, long rows) {
        double first = integral(1.5) - 1, last = integral(rows + 0.5);
        double always = 2 - inverse(integral(2.5) - Math.pow(2, -EXPONENT));
        while (true) {
            double u = last + random.nextDouble() * (first - last);
            double x = inverse(u);
            long k = Math.clamp(Math.round(x), 1, rows);
            if (k - x <= always || u >= integral(k + 0.5) - Math.pow(k, -EXPONENT)) {
                return k - 1;
            }
        }
    }

    /** Of x^-EXPONENT. */
    private static double integral(double x) {
        return Math.pow(x, 1 - EXPONENT) / (1 - EXPONENT);
    }

    private static double inverse(double u) {
        return Math.pow((1 - EXPONENT) * u, 1 / (1 - EXPONENT));
    }
}
