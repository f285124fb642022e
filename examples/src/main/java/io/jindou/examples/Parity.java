package io.jindou.examples;

import io.jindou.Device;
import io.jindou.HostTensor;
import io.jindou.Stream;
import java.io.IOException;
import java.io.PrintStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.concurrent.Callable;
import picocli.CommandLine;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

/**
 * Runs parity cases on a device and compares the results with those of another implementation. One line a case and output:
 *
 * <pre>&lt;case&gt; &lt;output&gt; max_abs=... max_rel=... cosine=... PASS|FAIL</pre>
 *
 * Exit status: 0 all passed, 1 one failed, 2 one could not be read or run (the message names file and field).
 */
@Command(name = "parity", description = "Compares Jindou with expected results.", mixinStandardHelpOptions = true)
public final class Parity implements Callable<Integer> {
    static final int PASSED = 0;
    static final int FAILED = 1;
    static final int UNREADABLE = 2;

    @Option(names = "--device", paramLabel = "NAME", description = "cpu, cuda, cuda:n or simt; default: the best present")
    private String deviceName;

    @Option(
            names = "--embedding-store",
            paramLabel = "tiered:DIR",
            description = "embedding tables are looked up in tiers over RocksDB in DIR; a table that is not there is written first")
    private String embeddingStore;

    @Parameters(paramLabel = "CASE", description = "folder of a case, or folder of such folders")
    private Path root;

    private Parity() {}

    public static void main(String[] arguments) {
        System.exit(new CommandLine(new Parity())
                .setExecutionExceptionHandler((failure, command, parsed) -> {
                    System.err.println("parity: " + failure.getMessage());
                    return UNREADABLE;
                })
                .execute(arguments));
    }

    @Override
    public Integer call() throws IOException {
        try (Device device = deviceName == null ? Device.best() : Device.open(deviceName);
                Stream stream = Stream.create(device)) {
            ParityStore store = embeddingStore == null ? null : ParityStore.of(embeddingStore);
            return run(root, device, stream, store, System.out, System.err);
        }
    }

    /**
     * Runs a case, or every case in a folder.
     *
     * @param root folder of a case, or of cases
     * @param device where to run
     * @param stream a stream of the device
     * @param out receives a line a case and output
     * @param problems receives what could not be read
     * @return 0, 1 or 2, see above
     */
    public static int run(Path root, Device device, Stream stream, PrintStream out, PrintStream problems) throws IOException {
        return run(root, device, stream, null, out, problems);
    }

    /** The same with embedding tables out of a store; null: out of the cases themselves. */
    static int run(Path root, Device device, Stream stream, ParityStore store, PrintStream out, PrintStream problems)
            throws IOException {
        int status = PASSED;
        for (Path folder : cases(root)) {
            try (ParityCase given = ParityCase.open(folder)) {
                given.useStore(store);
                if (!compare(given, device, stream, out) && status == PASSED) {
                    status = FAILED;
                }
            } catch (IOException unreadable) {
                problems.println(unreadable.getMessage());
                status = UNREADABLE;
            }
        }
        return status;
    }

    private static List<Path> cases(Path root) throws IOException {
        if (!Files.isDirectory(root)) {
            throw new IOException(root + ": not a folder");
        }
        if (Files.exists(root.resolve("case.json"))) {
            return List.of(root);
        }
        try (var entries = Files.list(root)) {
            List<Path> folders = entries.filter(Files::isDirectory).sorted().toList();
            if (folders.isEmpty()) {
                throw new IOException(root + ": neither a case (no case.json) nor a folder of cases");
            }
            return folders;
        }
    }

    private static boolean compare(ParityCase given, Device device, Stream stream, PrintStream out) throws IOException {
        Map<String, HostTensor> results = ParityOperators.run(given, device, stream);
        boolean passed = true;
        for (Map.Entry<String, ParityCase.Tolerance> output : given.tolerances().entrySet()) {
            String name = output.getKey();
            HostTensor got = results.get(name);
            if (got == null) {
                throw new IOException(given.name() + ": expected.safetensors: " + name + ": " + given.op()
                        + " has no such output; it has " + results.keySet());
            }
            Difference difference = Difference.of(ParityCase.doubles(got), given.expected(name, got), output.getValue());
            out.printf(
                    Locale.ROOT,
                    "%s %s max_abs=%.3e max_rel=%.3e cosine=%.9f %s%n",
                    given.name(), name, difference.maxAbs, difference.maxRel, difference.cosine,
                    difference.within ? "PASS" : "FAIL");
            passed &= difference.within;
        }
        return passed;
    }

    /** How far two results lie apart. NaN is never within a tolerance, and an infinity within that of itself alone. */
    private record Difference(double maxAbs, double maxRel, double cosine, boolean within) {
        static Difference of(double[] got, double[] expected, ParityCase.Tolerance tolerance) {
            double maxAbs = 0;
            double maxRel = 0;
            double product = 0;
            double gotSquare = 0;
            double expectedSquare = 0;
            boolean within = true;
            for (int i = 0; i < got.length; i++) {
                if (got[i] == expected[i] && Double.isInfinite(got[i])) {
                    continue; // the lse of a row that sees no key
                }
                double difference = got[i] == expected[i] ? 0 : Math.abs(got[i] - expected[i]);
                maxAbs = larger(maxAbs, difference);
                if (difference != 0) {
                    maxRel = larger(maxRel, difference / Math.max(Math.abs(expected[i]), Double.MIN_NORMAL));
                }
                within &= Double.isFinite(difference) && difference <= tolerance.atol() + tolerance.rtol() * Math.abs(expected[i]);
                product += got[i] * expected[i];
                gotSquare += got[i] * got[i];
                expectedSquare += expected[i] * expected[i];
            }
            double norms = Math.sqrt(gotSquare) * Math.sqrt(expectedSquare);
            double cosine = norms == 0 ? (gotSquare == expectedSquare ? 1 : 0) : product / norms;
            return new Difference(maxAbs, maxRel, cosine, within);
        }

        private static double larger(double a, double b) {
            return Double.isNaN(b) || b > a ? b : a;
        }
    }
}
