package io.jindou.examples;

import io.jindou.HostTensor;
import io.jindou.Safetensors;
import java.io.IOException;
import java.io.InputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import org.apache.flink.api.common.RuntimeExecutionMode;
import org.apache.flink.api.common.eventtime.WatermarkStrategy;
import org.apache.flink.api.common.functions.FlatMapFunction;
import org.apache.flink.api.common.typeinfo.TypeHint;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.api.java.tuple.Tuple2;
import org.apache.flink.api.java.tuple.Tuple3;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.configuration.RestartStrategyOptions;
import org.apache.flink.configuration.TaskManagerOptions;
import org.apache.flink.connector.file.src.FileSource;
import org.apache.flink.connector.file.src.enumerate.NonSplittingRecursiveEnumerator;
import org.apache.flink.connector.file.src.reader.TextLineInputFormat;
import org.apache.flink.streaming.api.datastream.DataStream;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.util.CloseableIterator;
import org.apache.flink.util.Collector;
import org.apache.flink.util.SerializedThrowable;

/**
 * Embeds a whole event log in parallel: Apache Flink reads the log, gathers the events of each user and spreads the users over its task
 * managers; in each of them Jindou runs the HSTU model on the users it was given. Flink moves the data, Jindou computes.
 *
 * <pre>
 * lines -> (user, line, item) -> keyed by user: history -> partitions of users -> Jindou -> (user, embedding)
 * </pre>
 *
 * <p>Here the cluster is a local one, of several task managers in this process; on a real one only the environment differs.
 */
public final class EventLogEmbedding {
    /** Users a batch of the model. */
    private static final int BATCH = 64;

    /** Each takes memory for Flink's network and for a copy of the model. */
    private static final int MAX_WORKERS = 64;

    private static final TypeInformation<Tuple2<Long, int[]>> HISTORY = TypeInformation.of(new TypeHint<>() {});
    private static final TypeInformation<Tuple2<Long, float[]>> EMBEDDING = TypeInformation.of(new TypeHint<>() {});

    private EventLogEmbedding() {}

    /**
     * Writes {@code users [n] I64} and {@code embeddings [n, D] F32}.
     *
     * @param arguments the log ("user item" a line, plain or .gz), the safetensors file to write, and the number of task managers (2)
     */
    public static void main(String[] arguments) {
        System.exit(run(arguments));
    }

    /** The exit status. */
    static int run(String... arguments) {
        if (arguments.length < 2 || arguments.length > 3) {
            System.err.println("usage: EventLogEmbedding <event log> <output.safetensors> [task managers]");
            return 2;
        }
        try {
            int workers = arguments.length > 2 ? workers(arguments[2]) : 2;
            Path out = Path.of(arguments[1]);
            if (!Files.isDirectory(out.toAbsolutePath().getParent())) { // said now, not after the work
                throw new EmbedLogException(out + ": its directory does not exist");
            }
            long start = System.nanoTime();
            Map<Long, float[]> embeddings = embed(Path.of(arguments[0]), workers, "cpu");
            write(embeddings, out);
            System.out.printf("%d users embedded by %d task managers in %.1f s%n",
                    embeddings.size(), workers, (System.nanoTime() - start) * 1e-9);
            return 0;
        } catch (Throwable failure) {
            System.err.println("embed-log: " + cause(failure));
            if (System.getenv("JINDOU_TRACE") != null) {
                failure.printStackTrace();
            }
            return 1;
        }
    }

    private static int workers(String argument) throws EmbedLogException {
        try {
            int workers = Integer.parseInt(argument);
            if (workers >= 1 && workers <= MAX_WORKERS) {
                return workers;
            }
        } catch (NumberFormatException notANumber) {
            // said below
        }
        throw new EmbedLogException("task managers (WORKERS): expected 1.." + MAX_WORKERS + ", got '" + argument + "'");
    }

    /** What a failure began with, as this program says it: Flink wraps it many times. */
    static String cause(Throwable failure) {
        Throwable first = failure;
        for (Throwable each = failure; each != null; each = each.getCause()) {
            boolean ours = each instanceof EmbedLogException
                    || each instanceof SerializedThrowable text // what has a cause that cannot travel
                            && text.getOriginalErrorClassName().equals(EmbedLogException.class.getName());
            if (ours) {
                return each.getMessage();
            }
            first = each;
        }
        return first.toString();
    }

    /**
     * Embeds every user of a log with the bundled model.
     *
     * @param log the events
     * @param workers task managers of the local cluster, each with one slot and one device
     * @param device what each opens: {@code cpu}, {@code cuda:0}...
     * @return the normalised last hidden state of each user, in order of users
     * @throws Exception what Flink throws; {@link #cause} says it in a line
     */
    static Map<Long, float[]> embed(Path log, int workers, String device) throws Exception {
        int numItems;
        try (HstuModel model = HstuModel.bundled()) {
            numItems = model.config().numItems();
        }
        return embed(log, numItems, workers, maxUsers -> new HstuEncoder(device, maxUsers));
    }

    /** The same with any model of items 1 to {@code numItems}. */
    static Map<Long, float[]> embed(Path log, int numItems, int workers, EmbedUsers.EncoderFactory model) throws Exception {
        if (!Files.isRegularFile(log) || !Files.isReadable(log)) {
            throw new EmbedLogException(log + ": expected a file that can be read");
        }
        if (isGzip(log) && !log.toString().matches(".*\\.gz(ip)?")) {
            throw new EmbedLogException(log + ": Flink knows a gzip file by its name, expected one that ends with .gz");
        }
        Configuration cluster = new Configuration();
        cluster.set(TaskManagerOptions.MINI_CLUSTER_NUM_TASK_MANAGERS, workers);
        cluster.set(TaskManagerOptions.NUM_TASK_SLOTS, 1);
        cluster.set(RestartStrategyOptions.RESTART_STRATEGY, "none"); // what failed fails again
        Map<Long, float[]> embeddings = new TreeMap<>();
        try (StreamExecutionEnvironment flink = StreamExecutionEnvironment.createLocalEnvironment(workers, cluster)) {
            flink.setRuntimeMode(RuntimeExecutionMode.BATCH);
            FileSource<String> file = FileSource.forRecordStreamFormat(
                            new TextLineInputFormat(), new org.apache.flink.core.fs.Path(log.toUri()))
                    .setFileEnumerator(() -> new NonSplittingRecursiveEnumerator(path -> true)) // of any name: else none that begins with _ or .
                    .build();
            DataStream<Tuple2<Long, int[]>> histories = flink.fromSource(file, WatermarkStrategy.noWatermarks(), "event log")
                    .setParallelism(1) // the order of a user's events is that of their lines
                    .flatMap(new Parse(log.toString(), numItems))
                    .setParallelism(1)
                    .returns(Types.TUPLE(Types.LONG, Types.LONG, Types.INT))
                    .keyBy(event -> event.f0)
                    .fullWindowPartition()
                    .mapPartition(EventLogEmbedding::gather)
                    .returns(HISTORY);
            try (CloseableIterator<Tuple2<Long, float[]>> results = histories
                    .rebalance()
                    .transform("embed", EMBEDDING, new EmbedUsers(model, BATCH))
                    .executeAndCollect("embed users")) {
                results.forEachRemaining(result -> embeddings.put(result.f0, result.f1));
            }
        }
        if (embeddings.isEmpty()) {
            throw new EmbedLogException(log + ": no events");
        }
        return embeddings;
    }

    private static boolean isGzip(Path file) throws IOException {
        try (InputStream bytes = Files.newInputStream(file)) {
            return bytes.read() == 0x1f && bytes.read() == 0x8b;
        }
    }

    /** A line becomes (user, number of the line, item). */
    private static final class Parse implements FlatMapFunction<String, Tuple3<Long, Long, Integer>> {
        private static final long serialVersionUID = 1L;
        private final String log;
        private final int numItems;
        private long lines;

        Parse(String log, int numItems) {
            this.log = log;
            this.numItems = numItems;
        }

        @Override
        public void flatMap(String line, Collector<Tuple3<Long, Long, Integer>> out) throws EmbedLogException {
            lines++;
            if (line.isBlank()) {
                return;
            }
            EventLog.Event event;
            try {
                event = EventLog.Event.parse(line, numItems);
            } catch (IOException malformed) {
                throw new EmbedLogException(log + ", line " + lines + ": " + malformed.getMessage(), malformed);
            }
            out.collect(Tuple3.of(event.user(), lines, event.item()));
        }
    }

    /** The events of one user become a history, oldest first. */
    private static void gather(Iterable<Tuple3<Long, Long, Integer>> events, Collector<Tuple2<Long, int[]>> out) {
        List<Tuple3<Long, Long, Integer>> inOrder = new ArrayList<>();
        events.forEach(event -> inOrder.add(event.copy()));
        inOrder.sort(Comparator.comparing(event -> event.f1));
        out.collect(Tuple2.of(inOrder.getFirst().f0, inOrder.stream().mapToInt(event -> event.f2).toArray()));
    }

    private static void write(Map<Long, float[]> embeddings, Path file) throws IOException {
        long[] users = embeddings.keySet().stream().mapToLong(user -> user).toArray();
        int dim = embeddings.values().iterator().next().length;
        float[] rows = new float[Math.multiplyExact(users.length, dim)];
        int at = 0;
        for (float[] row : embeddings.values()) {
            System.arraycopy(row, 0, rows, at, dim);
            at += dim;
        }
        Safetensors.write(file, Map.of(
                "users", HostTensor.of(users, users.length),
                "embeddings", HostTensor.of(rows, users.length, dim)));
    }
}
