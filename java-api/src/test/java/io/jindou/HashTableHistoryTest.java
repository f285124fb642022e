package io.jindou;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import java.util.Random;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.atomic.AtomicLong;
import java.util.stream.Stream.Builder;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;

/**
 * Calls of many threads, each with streams of its own, on the same few keys: there is an order of them that gives every row, outcome and size that
 * they saw, and in it a call comes before every other that was made after it had returned, though neither had run. Calls on several keys take
 * effect for all of them at once.
 */
class HashTableHistoryTest {
    private static final long[] KEYS = {3, -7, 1L << 40, Long.MIN_VALUE};
    private static final int THREADS = 4;
    private static final int DIM = 4;

    private enum Kind {
        LOOKUP,
        INSERT,
        ERASE,
        SIZE,
        CLEAR
    }

    /** What was done to which of the keys, the rows written or seen (0: none), the outcomes, and with SIZE the size. */
    private record Done(Kind kind, List<Integer> keys, List<Integer> rows, List<KeyOutcome> outcomes, long size) {
        boolean onlyReads() {
            return kind == Kind.LOOKUP || kind == Kind.SIZE
                    || (kind == Kind.ERASE && outcomes.stream().allMatch(each -> each == KeyOutcome.MISSING));
        }
    }

    /** The table as a model: each key's row, 0 for a key that is not there. Null where the call could not have ended so. */
    private static List<Integer> next(List<Integer> rows, Done done) {
        List<Integer> after = new ArrayList<>(rows);
        switch (done.kind) {
            case SIZE -> {
                return rows.stream().filter(row -> row != 0).count() == done.size ? rows : null;
            }
            case CLEAR -> Collections.fill(after, 0);
            default -> {
                for (int i = 0; i < done.keys.size(); i++) {
                    int key = done.keys.get(i), row = rows.get(key);
                    KeyOutcome absent = done.kind == Kind.INSERT ? KeyOutcome.INSERTED : KeyOutcome.MISSING;
                    if (done.outcomes.get(i) != (row == 0 ? absent : KeyOutcome.ASSIGNED)
                            || (done.kind == Kind.LOOKUP && done.rows.get(i) != row)) {
                        return null;
                    }
                    after.set(key, done.kind == Kind.LOOKUP ? row : done.kind == Kind.ERASE ? 0 : done.rows.get(i));
                }
            }
        }
        return after;
    }

    /** A call that is enqueued, and the tensors that will say what it did. */
    private record Enqueued(
            Kind kind, Stream stream, long begun, long ended, List<Integer> keys, int row, Tensor given, Tensor rows, Tensor outcomes) {
        Linearizability.Timed<Done> result() {
            try (given; rows; outcomes) {
                if (kind == Kind.CLEAR) {
                    return new Linearizability.Timed<>(begun, ended, new Done(kind, keys, List.of(), List.of(), 0));
                }
                float[] values = rows.readFloats(stream);
                List<Integer> seen = new ArrayList<>();
                for (int i = 0; i < keys.size(); i++) {
                    for (int d = 1; d < DIM; d++) {
                        assertEquals(values[i * DIM], values[i * DIM + d], "a torn row");
                    }
                    seen.add(kind == Kind.INSERT ? row + i : (int) values[i * DIM]);
                }
                List<KeyOutcome> each = Arrays.stream(outcomes.readInts(stream)).mapToObj(KeyOutcome::of).toList();
                return new Linearizability.Timed<>(begun, ended, new Done(kind, keys, seen, each, 0));
            }
        }
    }

    static java.util.stream.Stream<Arguments> devices() {
        Builder<Arguments> all = java.util.stream.Stream.builder();
        for (String name : TestDevices.names()) {
            all.add(Arguments.of(name, false));
            if (name.equals("simt")) {
                all.add(Arguments.of(name, true)); // streams that run nothing before something waits for it
            }
        }
        return all.build();
    }

    @ParameterizedTest(name = "{0}, late streams: {1}")
    @MethodSource("devices")
    void there_is_an_order_of_all_calls(String name, boolean late) throws Exception {
        int bursts = name.equals("simt") ? 100 : 200;
        try (Rig rig = new Rig(name, DeviceOptions.DEFAULT.withLateStreams(late))) {
            HashTable table = rig.keep(HashTable.create(rig.device, HashTableDesc.of(DType.F32, DIM, 16)));
            AtomicLong clock = new AtomicLong();
            List<Linearizability.Timed<Done>> history = new ArrayList<>();
            try (ExecutorService threads = Executors.newFixedThreadPool(THREADS)) {
                List<Callable<List<Linearizability.Timed<Done>>>> all = new ArrayList<>();
                for (int t = 0; t < THREADS; t++) {
                    Random random = new Random(t);
                    int first = 1 + t * 1_000_000; // rows that no other thread writes
                    all.add(() -> use(table, random, first, bursts, clock));
                }
                for (Future<List<Linearizability.Timed<Done>>> each : threads.invokeAll(all)) {
                    history.addAll(each.get());
                }
            }
            assertNull(Linearizability.violation(history, Collections.nCopies(KEYS.length, 0), HashTableHistoryTest::next, Done::onlyReads));
        }
    }

    /** Bursts of one to four calls on two streams before their results are waited for. */
    private static List<Linearizability.Timed<Done>> use(HashTable table, Random random, int row, int bursts, AtomicLong clock) {
        List<Linearizability.Timed<Done>> history = new ArrayList<>();
        try (Stream one = Stream.create(table.device()); Stream other = Stream.create(table.device())) {
            for (int burst = 0; burst < bursts; burst++) {
                List<Enqueued> enqueued = new ArrayList<>();
                for (int i = random.nextInt(4); i >= 0; i--) {
                    enqueued.add(enqueue(table, random.nextBoolean() ? one : other, random, row, clock));
                    row += KEYS.length;
                }
                Collections.shuffle(enqueued, random);
                enqueued.forEach(each -> history.add(each.result()));
                if (random.nextInt(4) == 0) {
                    long begun = clock.incrementAndGet();
                    long size = table.size(one);
                    history.add(new Linearizability.Timed<>(
                            begun, clock.incrementAndGet(), new Done(Kind.SIZE, List.of(), List.of(), List.of(), size)));
                }
            }
        }
        return history;
    }

    private static Enqueued enqueue(HashTable table, Stream stream, Random random, int row, AtomicLong clock) {
        int dice = random.nextInt(16);
        Kind kind = dice == 0 ? Kind.CLEAR : dice < 4 ? Kind.ERASE : dice < 9 ? Kind.INSERT : Kind.LOOKUP;
        List<Integer> keys = new ArrayList<>(List.of(0, 1, 2, 3));
        Collections.shuffle(keys, random);
        keys = List.copyOf(keys.subList(0, 1 + random.nextInt(3)));
        int count = keys.size();
        float[] values = new float[count * DIM];
        for (int i = 0; i < values.length; i++) {
            values[i] = row + i / DIM;
        }
        Tensor given = Tensor.of(stream, keys.stream().mapToLong(key -> KEYS[key]).toArray(), count);
        Tensor rows = Tensor.of(stream, values, count, DIM);
        Tensor outcomes = Tensor.create(table.device(), DType.I32, count);
        HashTableResults results = new HashTableResults(null, outcomes, null);
        long begun = clock.incrementAndGet();
        switch (kind) {
            case LOOKUP -> table.lookup(stream, given, rows, null, results);
            case INSERT -> table.insert(stream, given, rows, null, results);
            case ERASE -> table.erase(stream, given, results);
            default -> table.clear(stream);
        }
        return new Enqueued(kind, stream, begun, clock.incrementAndGet(), keys, row, given, rows, outcomes);
    }
}
