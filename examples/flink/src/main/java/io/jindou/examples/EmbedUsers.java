package io.jindou.examples;

import java.io.Serializable;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.apache.flink.api.java.tuple.Tuple2;
import org.apache.flink.streaming.api.operators.AbstractStreamOperator;
import org.apache.flink.streaming.api.operators.BoundedOneInput;
import org.apache.flink.streaming.api.operators.OneInputStreamOperator;
import org.apache.flink.streaming.runtime.streamrecord.StreamRecord;

/**
 * Runs a model over the users that a task is given, in batches: histories go in, embeddings come out.
 *
 * <p>An operator, not a {@code MapPartitionFunction}: Flink runs that one on a thread of its own and waits for its end, which never comes
 * when it throws, so that the job hangs. An operator runs on the thread of the task, and whatever it throws ends the job.
 */
final class EmbedUsers extends AbstractStreamOperator<Tuple2<Long, float[]>>
        implements OneInputStreamOperator<Tuple2<Long, int[]>, Tuple2<Long, float[]>>, BoundedOneInput {
    private static final long serialVersionUID = 1L;

    /** A row for each history, in their order. */
    interface Encoder extends AutoCloseable {
        float[] encode(List<int[]> histories);
    }

    /** Travels to the task and opens there what cannot travel: device, model, memory. */
    @FunctionalInterface
    interface EncoderFactory extends Serializable {
        Encoder open(int maxUsers) throws Exception;
    }

    private final EncoderFactory factory;
    private final int maxUsers;
    private transient Encoder encoder;
    private transient List<Long> users;
    private transient List<int[]> histories;

    EmbedUsers(EncoderFactory factory, int maxUsers) {
        this.factory = factory;
        this.maxUsers = maxUsers;
    }

    @Override
    public void open() throws Exception {
        super.open();
        users = new ArrayList<>(maxUsers);
        histories = new ArrayList<>(maxUsers);
        try {
            encoder = factory.open(maxUsers);
        } catch (Throwable failure) {
            throw new EmbedLogException("cannot open the model: " + failure, failure);
        }
    }

    @Override
    public void processElement(StreamRecord<Tuple2<Long, int[]>> user) throws EmbedLogException {
        users.add(user.getValue().f0);
        histories.add(user.getValue().f1);
        if (users.size() == maxUsers) {
            flush();
        }
    }

    @Override
    public void endInput() throws EmbedLogException {
        if (!users.isEmpty()) {
            flush();
        }
    }

    private void flush() throws EmbedLogException {
        float[] embeddings;
        try {
            embeddings = encoder.encode(histories);
        } catch (Throwable failure) { // errors too: of some of them Flink ends the JVM without a word
            throw new EmbedLogException("cannot embed a batch of " + users.size() + " users, " + users + ": " + failure, failure);
        }
        int dim = embeddings.length / users.size();
        for (int u = 0; u < users.size(); u++) {
            output.collect(new StreamRecord<>(Tuple2.of(users.get(u), Arrays.copyOfRange(embeddings, u * dim, (u + 1) * dim))));
        }
        users.clear();
        histories.clear();
    }

    /** Also after a failure. */
    @Override
    public void close() throws Exception {
        try {
            if (encoder != null) {
                encoder.close();
            }
        } finally {
            encoder = null;
            super.close();
        }
    }
}
