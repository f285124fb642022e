package io.jindou.examples;

import io.jindou.Device;
import io.jindou.DeviceOptions;
import io.jindou.HostTensor;
import io.jindou.Safetensors;
import io.jindou.Stream;
import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import org.apache.flink.api.common.RuntimeExecutionMode;
import org.apache.flink.api.common.eventtime.WatermarkStrategy;
import org.apache.flink.api.common.functions.FlatMapFunction;
import org.apache.flink.api.common.functions.MapPartitionFunction;
import org.apache.flink.api.common.typeinfo.TypeHint;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.api.java.tuple.Tuple2;
import org.apache.flink.api.java.tuple.Tuple3;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.configuration.TaskManagerOptions;
import org.apache.flink.connector.file.src.FileSource;
import org.apache.flink.connector.file.src.reader.TextLineInputFormat;
import org.apache.flink.streaming.api.datastream.DataStream;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.util.CloseableIterator;
import org.apache.flink.util.Collector;

/**
 * Embeds a whole event log in parallel: Apache Flink reads the log, gathers the events of each user and spreads the users over its task
 * managers; in each of them Jindou runs the HSTU model on the users it was given. Flink moves the data, Jindou computes.
 *
 * <pre>
 * lines -> (user, position, item) -> keyed by user: history -> partitions of users -> Jindou -> (user, embedding)
 * </pre>
 *
 * <p>Here the cluster is a local one, of several task managers in this process; on a real one only the environment differs.
 */
public final class EventLogEmbedding {
    /** Users a batch of the model. */
    private static final int BATCH = 64;

    private static final TypeInformation<Tuple2<Long, int[]>> HISTORY = TypeInformation.of(new TypeHint<>() {});
    private static final TypeInformation<Tuple2<Long, float[]>> EMBEDDING = TypeInformation.of(new TypeHint<>() {});

    private EventLogEmbedding() {}

    /**
     * Writes {@code users [n] I64} and {@code embeddings [n, D] F32}.
     *
     * @param arguments the log ("user item" a line, plain or .gz), the safetensors file to write, and the number of task managers (2)
     * @throws Exception what Flink throws
     */
    public static void main(String[] arguments) throws Exception {
        if (arguments.length < 2) {
            System.err.println("usage: EventLogEmbedding <event log> <output.safetensors> [task managers]");
            System.exit(2);
        }
        int workers = arguments.length > 2 ? Integer.parseInt(arguments[2]) : 2;
        long start = System.nanoTime();
        Map<Long, float[]> embeddings = embed(Path.of(arguments[0]), workers, "cpu");
        write(embeddings, Path.of(arguments[1]));
        System.out.printf("%d users embedded by %d task managers in %.1f s%n",
                embeddings.size(), workers, (System.nanoTime() - start) * 1e-9);
    }

    /**
     * Embeds every user of a log.
     *
     * @param log the events
     * @param workers task managers of the local cluster, each with one slot and one device
     * @param device what each opens: {@code cpu}, {@code cuda:0}...
     * @return the normalised last hidden state of each user, in order of users
     * @throws Exception what Flink throws
     */
    static Map<Long, float[]> embed(Path log, int workers, String device) throws Exception {
        Configuration cluster = new Configuration();
        cluster.set(TaskManagerOptions.MINI_CLUSTER_NUM_TASK_MANAGERS, workers);
        cluster.set(TaskManagerOptions.NUM_TASK_SLOTS, 1);
        Map<Long, float[]> embeddings = new TreeMap<>();
        try (StreamExecutionEnvironment flink = StreamExecutionEnvironment.createLocalEnvironment(workers, cluster)) {
            flink.setRuntimeMode(RuntimeExecutionMode.BATCH);
            FileSource<String> file = FileSource.forRecordStreamFormat(
                            new TextLineInputFormat(), new org.apache.flink.core.fs.Path(log.toUri()))
                    .build();
            DataStream<Tuple2<Long, int[]>> histories = flink.fromSource(file, WatermarkStrategy.noWatermarks(), "event log")
                    .setParallelism(1) // the order of a user's events is that of their lines
                    .flatMap(new Parse())
                    .setParallelism(1)
                    .returns(Types.TUPLE(Types.LONG, Types.LONG, Types.INT))
                    .keyBy(event -> event.f0)
                    .fullWindowPartition()
                    .mapPartition(EventLogEmbedding::gather)
                    .returns(HISTORY);
            try (CloseableIterator<Tuple2<Long, float[]>> results = histories
                    .rebalance()
                    .fullWindowPartition()
                    .mapPartition(new Embed(device))
                    .returns(EMBEDDING)
                    .executeAndCollect("embed users")) {
                results.forEachRemaining(result -> embeddings.put(result.f0, result.f1));
            }
        }
        return embeddings;
    }

    /** A line becomes (user, number of the line, item). */
    private static final class Parse implements FlatMapFunction<String, Tuple3<Long, Long, Integer>> {
        private static final long serialVersionUID = 1L;
        private long lines;

        @Override
        public void flatMap(String line, Collector<Tuple3<Long, Long, Integer>> out) throws IOException {
            lines++;
            if (line.isBlank()) {
                return;
            }
            String[] words = line.strip().split(" ");
            try {
                out.collect(Tuple3.of(Long.parseLong(words[0]), lines, Integer.parseInt(words[1])));
            } catch (ArrayIndexOutOfBoundsException | NumberFormatException malformed) {
                throw new IOException("line " + lines + ": expected \"user item\", got \"" + line + "\"", malformed);
            }
        }
    }

    /** The events of one user become a history, oldest first. */
    private static void gather(Iterable<Tuple3<Long, Long, Integer>> events, Collector<Tuple2<Long, int[]>> out) {
        List<Tuple3<Long, Long, Integer>> inOrder = new ArrayList<>();
        events.forEach(event -> inOrder.add(event.copy()));
        inOrder.sort(Comparator.comparing(event -> event.f1));
        out.collect(Tuple2.of(inOrder.getFirst().f0, inOrder.stream().mapToInt(event -> event.f2).toArray()));
    }

    /** Runs the model over the users of a partition: one device, one model and one thread a task. */
    private static final class Embed implements MapPartitionFunction<Tuple2<Long, int[]>, Tuple2<Long, float[]>> {
        private static final long serialVersionUID = 1L;
        private final String device;

        Embed(String device) {
            this.device = device;
        }

        @Override
        public void mapPartition(Iterable<Tuple2<Long, int[]>> users, Collector<Tuple2<Long, float[]>> out) throws Exception {
            try (HstuModel model = HstuModel.bundled();
                    Device opened = Device.open(device, DeviceOptions.DEFAULT.withNumThreads(1));
                    Stream stream = Stream.create(opened);
                    HstuRetriever retriever = new HstuRetriever(model, opened, stream, BATCH)) {
                List<Long> batch = new ArrayList<>();
                List<int[]> histories = new ArrayList<>();
                for (Tuple2<Long, int[]> user : users) {
                    batch.add(user.f0);
                    histories.add(user.f1);
                    if (batch.size() == BATCH) {
                        flush(retriever, batch, histories, out);
                    }
                }
                if (!batch.isEmpty()) {
                    flush(retriever, batch, histories, out);
                }
            }
        }

        private static void flush(
                HstuRetriever retriever, List<Long> users, List<int[]> histories, Collector<Tuple2<Long, float[]>> out) {
            float[] embeddings = retriever.encode(histories);
            int dim = embeddings.length / users.size();
            for (int u = 0; u < users.size(); u++) {
                out.collect(Tuple2.of(users.get(u), Arrays.copyOfRange(embeddings, u * dim, (u + 1) * dim)));
            }
            users.clear();
            histories.clear();
        }
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
