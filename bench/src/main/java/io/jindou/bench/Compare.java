package io.jindou.bench;

/** Results must agree before anything is timed. */
final class Compare {
    private Compare() {}

    /** The same, but for one result in a thousand: where a choice between equals was made differently. */
    static void mostlyClose(String what, float[] got, float[] expected, double tolerance) {
        if (got.length != expected.length) {
            throw new IllegalStateException(what + ": " + got.length + " results, expected " + expected.length);
        }
        int far = 0;
        for (int i = 0; i < got.length; i++) {
            far += Math.abs(got[i] - expected[i]) <= tolerance ? 0 : 1;
        }
        if (far > got.length / 1000) {
            throw new IllegalStateException(what + ": " + far + " of " + got.length + " results differ");
        }
    }

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
