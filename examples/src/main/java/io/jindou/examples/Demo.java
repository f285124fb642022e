package io.jindou.examples;

import com.fasterxml.jackson.databind.ObjectMapper;
import io.jindou.DType;
import io.jindou.Device;
import io.jindou.DeviceAvailability;
import io.jindou.DeviceInfo;
import io.jindou.DeviceOptions;
import io.jindou.Stream;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Callable;
import picocli.CommandLine;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;

/**
 * The main job: a trained HSTU model ranks a whole catalogue for users with real (or sampled) histories, then one user with
 * 10,000 events and 512 candidates goes through the attention operators. The last line printed is one JSON object.
 */
@Command(name = "demo", description = "Ranks a catalogue for users with an HSTU model.", mixinStandardHelpOptions = true)
final class Demo implements Callable<Integer> {
    private static final int BATCH = 256;
    private static final int SHOWN_USERS = 3;
    private static final int SHOWN_ITEMS = 10;
    private static final int MIN_EVENTS = 3; // leave-one-out: test item, validation item, and at least one event before
    private static final long SEED = 20;

    @Option(names = "--device", paramLabel = "NAME", description = "cpu, cuda, cuda:n or simt; default: the best present")
    private String deviceName;

    @Option(names = "--events", paramLabel = "FILE", description = "event log, 'user item' lines, plain or gzip: evaluates on it")
    private Path events;

    @Option(names = "--threads", paramLabel = "N", description = "threads of cpu and simt; default: one a core")
    private int threads;

    @Option(names = "--users", paramLabel = "N", description = "rank only the first N users")
    private int maxUsers = Integer.MAX_VALUE;

    @Option(names = "--long-history", paramLabel = "N", description = "events of the user with a long history; default: 10,000, emulated 500")
    private int longHistory;

    @Option(
            names = "--embedding-store",
            paramLabel = "tiered:DIR",
            description = "embeddings of histories from a device cache of a tenth of the rows over RocksDB in DIR; default: from the device")
    private String embeddingStore;

    private Demo() {}

    public static void main(String[] arguments) {
        System.exit(run(arguments));
    }

    /** The exit status. */
    static int run(String... arguments) {
        return new CommandLine(new Demo())
                .setExecutionExceptionHandler((failure, command, parsed) -> {
                    if (failure instanceof IOException || failure instanceof RuntimeException) {
                        System.err.println("demo: " + failure.getMessage());
                        if (System.getenv("JINDOU_TRACE") != null) {
                            failure.printStackTrace();
                        }
                        return 1;
                    }
                    throw failure;
                })
                .execute(arguments);
    }

    @Override
    public Integer call() throws IOException {
        DeviceOptions options = DeviceOptions.DEFAULT.withNumThreads(threads);
        try (HstuModel model = HstuModel.bundled();
                Device device = deviceName == null ? Device.best(options) : Device.open(deviceName, options);
                Stream stream = Stream.create(device)) {
            DeviceInfo info = device.info();
            boolean emulated = info.backend().equals("simt");
            describe(device, info);
            Map<String, Object> report = new LinkedHashMap<>();
            report.put("device", device.name());
            rank(model, device, stream, emulated, report);
            longSequence(device, stream, info, emulated, report);
            System.out.println(new ObjectMapper().writeValueAsString(report));
        }
        return 0;
    }

    private static void describe(Device device, DeviceInfo info) {
        System.out.printf(
                "Device %s: %s%s, %d %s%n",
                device.name(),
                info.name(),
                info.isa().isEmpty() ? "" : " (" + info.isa() + ")",
                info.numThreads(),
                info.backend().equals("cuda") ? "multiprocessors" : "threads");
        for (DeviceAvailability other : Device.available()) {
            if (!other.available()) {
                System.out.println("  " + other);
            }
        }
    }

    /** One user to rank: what is known, and what came next (0: unknown). */
    private record Request(String label, int[] history, int target) {}

    private void rank(HstuModel model, Device device, Stream stream, boolean emulated, Map<String, Object> report)
            throws IOException {
        int batch = emulated ? 8 : BATCH;
        Path store = embeddingStore == null ? null : tieredStore(embeddingStore);
        try (HstuRetriever retriever = new HstuRetriever(model, device, stream, batch, store);
                Ranker ranker = new Ranker(retriever)) {
            List<Request> requests = events != null ? fromLog(model.config()) : sampled(ranker, emulated);
            if (requests.isEmpty()) {
                throw new IOException(events + ": no user has " + MIN_EVENTS + " events or more");
            }
            show(ranker, requests);

            RankingMetrics metrics = new RankingMetrics();
            ProgressBar progress = new ProgressBar(System.out, "Ranking", requests.size());
            long start = System.nanoTime();
            for (int from = 0; from < requests.size(); from += batch) {
                List<Request> part = requests.subList(from, Math.min(requests.size(), from + batch));
                List<int[]> histories = part.stream().map(Request::history).toList();
                if (events != null) {
                    for (int rank : ranker.ranks(histories, part.stream().mapToInt(Request::target).toArray())) {
                        metrics.add(rank);
                    }
                } else {
                    ranker.top(histories, SHOWN_ITEMS);
                }
                progress.update(from + part.size());
            }
            double usersPerSecond = requests.size() / ((System.nanoTime() - start) / 1e9);
            double[] latencies = latencies(ranker, requests, emulated ? 4 : 500);

            System.out.printf(
                    "%,d users, each against %,d items: %,.0f users/s in batches of %d%n",
                    requests.size(), retriever.rowLength() - 1, usersPerSecond, batch);
            System.out.printf("One user at a time: p50 %.3f ms, p99 %.3f ms%n", percentile(latencies, 50), percentile(latencies, 99));
            System.out.println("Embeddings of histories: " + retriever.embeddings());
            System.out.printf(
                    "Peak memory: %.1f MiB on the device, %.1f MiB of the process%n",
                    device.memory().peakBytes() / 1048576.0, processPeakBytes() / 1048576.0);
            if (events != null) {
                System.out.printf(
                        "Leave-one-out: HR@10 %.4f, HR@50 %.4f, NDCG@10 %.4f%n",
                        metrics.hitRate10(), metrics.hitRate50(), metrics.ndcg10());
            }
            report.put("users", requests.size());
            report.put("hr10", events == null ? null : metrics.hitRate10());
            report.put("hr50", events == null ? null : metrics.hitRate50());
            report.put("ndcg10", events == null ? null : metrics.ndcg10());
            report.put("users_per_s", usersPerSecond);
            report.put("p50_ms", percentile(latencies, 50));
            report.put("p99_ms", percentile(latencies, 99));
        }
    }

    private static Path tieredStore(String option) {
        if (!option.startsWith("tiered:") || option.length() == 7) {
            throw new IllegalArgumentException("--embedding-store: expected tiered:<directory>, got '" + option + "'");
        }
        return Path.of(option.substring(7));
    }

    /** Leave-one-out: the last event of each user is the target, what came before is the history. */
    private List<Request> fromLog(HstuModel.Config config) throws IOException {
        List<Request> requests = new ArrayList<>();
        for (EventLog.History history : EventLog.read(events, config.numItems())) {
            int count = history.items().length;
            if (count >= MIN_EVENTS && requests.size() < maxUsers) {
                requests.add(new Request(
                        "user " + history.user(), history.latest(count - 1, config.maxSeqLen()), history.items()[count - 1]));
            }
        }
        return requests;
    }

    private List<Request> sampled(Ranker ranker, boolean emulated) {
        int users = Math.min(maxUsers, emulated ? 8 : 512);
        System.out.println("No event log given: histories are sampled from the model itself (seed " + SEED + ")");
        List<int[]> histories = ranker.sample(users, emulated ? 6 : 24, SEED);
        List<Request> requests = new ArrayList<>();
        for (int b = 0; b < users; b++) {
            requests.add(new Request("user " + b, histories.get(b), 0));
        }
        return requests;
    }

    private static void show(Ranker ranker, List<Request> requests) {
        List<Request> shown = requests.subList(0, Math.min(SHOWN_USERS, requests.size()));
        Ranker.Ranking[] rankings = ranker.top(shown.stream().map(Request::history).toList(), SHOWN_ITEMS);
        for (int i = 0; i < rankings.length; i++) {
            int[] history = shown.get(i).history();
            String tail = Arrays.toString(Arrays.copyOfRange(history, Math.max(0, history.length - 8), history.length));
            System.out.printf(
                    "%s: ...%s (%d events) -> top %d %s%n",
                    shown.get(i).label(), tail, history.length, rankings[i].items().length, Arrays.toString(rankings[i].items()));
        }
    }

    /** Milliseconds from history to top 10 for single users, sorted. */
    private static double[] latencies(Ranker ranker, List<Request> requests, int count) {
        int warmUp = count / 5;
        double[] millis = new double[count];
        for (int i = -warmUp; i < count; i++) {
            List<int[]> one = List.of(requests.get(Math.floorMod(i, requests.size())).history());
            long start = System.nanoTime();
            ranker.top(one, SHOWN_ITEMS);
            if (i >= 0) {
                millis[i] = (System.nanoTime() - start) / 1e6;
            }
        }
        Arrays.sort(millis);
        return millis;
    }

    private static double percentile(double[] sorted, int percent) {
        return sorted[Math.min(sorted.length - 1, sorted.length * percent / 100)];
    }

    private void longSequence(
            Device device, Stream stream, DeviceInfo info, boolean emulated, Map<String, Object> report) {
        int history = longHistory > 0 ? longHistory : emulated ? 500 : 10_000;
        int candidates = emulated ? 64 : 512;
        boolean bf16 = info.backend().equals("cuda") || info.isa().contains("bf16");
        DType dtype = bf16 ? DType.BF16 : DType.F32;
        System.out.printf("One user, %,d events, %d candidates, 4 heads of 64, %s:%n", history, candidates, dtype);
        LongSequence sequence = new LongSequence(device, stream, dtype, history, candidates, emulated ? 1 : 5);
        LongSequence.Result target = sequence.targetAttention();
        print("target_attention", target);
        LongSequence.Result hstu = sequence.hstuAttention();
        print("hstu_attention", hstu);
        report.put("target_attention_ms", target.millis());
        report.put("hstu_attention_ms", hstu.millis());
        report.put("max_abs_err_vs_float64", Math.max(target.maxAbsError(), hstu.maxAbsError()));
    }

    private static void print(String name, LongSequence.Result result) {
        System.out.printf(
                "  %-17s %10.3f ms  %,10.1f GFLOP/s  max |error| vs float64 %.2e%n",
                name, result.millis(), result.gigaflopsPerSecond(), result.maxAbsError());
    }

    /** The high-water mark of the process's resident memory (Linux); 0 where it cannot be read. */
    private static long processPeakBytes() {
        try {
            for (String line : Files.readAllLines(Path.of("/proc/self/status"))) {
                if (line.startsWith("VmHWM:")) {
                    return Long.parseLong(line.replaceAll("\\D", "")) * 1024;
                }
            }
        } catch (IOException notLinux) {
            return 0;
        }
        return 0;
    }
}
