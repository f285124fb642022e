package io.jindou.examples;

import java.io.PrintStream;

/**
 * A progress bar on a terminal; on anything else (a file, a CI log) a line every tenth of the way. Not thread-safe.
 */
final class ProgressBar {
    private static final int WIDTH = 40;
    private static final long REDRAW_NANOS = 100_000_000L;

    private final PrintStream out;
    private final String label;
    private final long total;
    private final boolean terminal = System.console() != null && System.console().isTerminal();
    private final long start = System.nanoTime();
    private long lastDraw;
    private int lastTenth;

    ProgressBar(PrintStream out, String label, long total) {
        this.out = out;
        this.label = label;
        this.total = total;
    }

    void update(long done) {
        long now = System.nanoTime();
        if (terminal) {
            if (done < total && now - lastDraw < REDRAW_NANOS) {
                return;
            }
            lastDraw = now;
            int filled = (int) (WIDTH * done / Math.max(1, total));
            double seconds = (now - start) / 1e9;
            out.printf("\r%s [%s%s] %,d/%,d  %,.0f/s ", label, "#".repeat(filled), ".".repeat(WIDTH - filled), done, total,
                    done / seconds);
            if (done == total) {
                out.println();
            }
            out.flush();
        } else {
            int tenth = (int) (10 * done / Math.max(1, total));
            if (tenth > lastTenth) {
                lastTenth = tenth;
                out.printf("%s %d%% (%,d/%,d)%n", label, 10 * tenth, done, total);
            }
        }
    }
}
