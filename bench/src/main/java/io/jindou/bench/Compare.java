package io.jindou.bench;

/** Results must agree before anything is timed. */
final class Compare {
    private Compare() {}

    static void close(String what, float[] got, float[] expected, double tolerance) {
        if (got.length != expected.length) {
            throw new IllegalStateException(what + ": " + got.length + " results, expected " + expected.length);
        }
        for (int i = 0; i < got.length; i++) {
            if (!(Math.abs(got[i] - expected[i]) <= tolerance)) {
                throw new IllegalStateException(
                        what + ": element " + i + " is " + got[i] + ", expected " + expected[i] + " within " + tolerance);
            }
        }
    }
}
