package io.jindou;

import static io.jindou.Rig.refused;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.locks.LockSupport;
import org.junit.jupiter.api.Assertions;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** Events are used again, not made anew for each read or each stream. On simt, whose streams are ordered by events as the GPU's are. */
class StreamOrderTest {
    @Test
    void reads_between_writes_make_no_more_events_than_there_are_readers() {
        try (Device device = Device.open("simt");
                Stream first = Stream.create(device);
                Stream second = Stream.create(device);
                Stream writer = Stream.create(device);
                StreamOrder order = new StreamOrder(device)) {
            for (int i = 0; i < 100; i++) {
                order.read(first, () -> {});
                order.read(second, () -> {});
                order.read(first, () -> {});
                order.write(writer, () -> {});
                order.write(first, () -> {});
            }
            assertEquals(3, order.events(), "two readers and the last write");
        }
    }

    @Test
    void readers_that_come_and_go_leave_no_events_behind() {
        try (Device device = Device.open("simt"); Stream writer = Stream.create(device); StreamOrder order = new StreamOrder(device)) {
            order.write(writer, () -> {});
            for (int i = 0; i < 100; i++) {
                try (Stream reader = Stream.create(device)) {
                    order.read(reader, () -> {});
                }
            }
            assertTrue(order.events() <= 3, order.events() + " events");
            List<Stream> open = new ArrayList<>();
            for (int i = 0; i < 5; i++) {
                open.add(Stream.create(device));
                order.read(open.get(i), () -> {});
            }
            order.write(writer, () -> {});
            assertTrue(order.events() >= 6 && order.events() <= 8, order.events() + " events for five readers at once and a writer");
            open.forEach(Stream::close);
        }
    }

    /** On streams that run nothing before something waits for it, only the order itself has one call see another. */
    @Test
    void writers_wait_for_readers_and_readers_for_the_writer() {
        try (Device device = Device.open("simt", DeviceOptions.DEFAULT.withLateStreams(true));
                Stream reader = Stream.create(device);
                Stream writer = Stream.create(device);
                Stream another = Stream.create(device);
                StreamOrder order = new StreamOrder(device);
                Tensor x = Tensor.create(device, DType.F32, 4);
                Tensor old = Tensor.create(device, DType.F32, 4);
                Tensor seen = Tensor.create(device, DType.F32, 4)) {
            order.write(writer, () -> x.fill(writer, 0));
            order.read(reader, () -> old.copyFrom(reader, x));
            order.write(writer, () -> x.fill(writer, 0xff));
            writer.synchronize();
            order.write(another, () -> x.fill(another, 1));
            order.read(reader, () -> seen.copyFrom(reader, x));
            assertEquals(0, old.readFloats(reader)[0]);
            assertEquals(Float.intBitsToFloat(0x01010101), seen.readFloats(reader)[0]);
        }
    }

    /** Work that was enqueued before an exception is ordered as any other. */
    @Test
    void work_that_fails_halfway_is_waited_for() {
        try (Device device = Device.open("simt", DeviceOptions.DEFAULT.withLateStreams(true));
                Stream reader = Stream.create(device);
                Stream writer = Stream.create(device);
                StreamOrder order = new StreamOrder(device);
                Tensor x = Tensor.create(device, DType.F32, 4);
                Tensor old = Tensor.create(device, DType.F32, 4);
                Tensor seen = Tensor.create(device, DType.F32, 4)) {
            IllegalStateException failure = new IllegalStateException("halfway");
            assertEquals(failure, assertThrows(IllegalStateException.class, () -> order.write(writer, () -> {
                x.fill(writer, 1);
                throw failure;
            })));
            assertEquals(failure, assertThrows(IllegalStateException.class, () -> order.read(reader, () -> {
                old.copyFrom(reader, x);
                throw failure;
            })));
            order.write(writer, () -> x.fill(writer, 2));
            writer.synchronize();
            order.read(reader, () -> seen.copyFrom(reader, x));
            assertEquals(Float.intBitsToFloat(0x01010101), old.readFloats(reader)[0]);
            assertEquals(Float.intBitsToFloat(0x02020202), seen.readFloats(reader)[0]);
        }
    }

    @Test
    void a_closed_stream_leaves_no_events_and_the_order_as_it_was() {
        try (Device device = Device.open("simt");
                Stream stream = Stream.create(device);
                Stream closed = Stream.create(device);
                StreamOrder order = new StreamOrder(device);
                Tensor x = Tensor.create(device, DType.F32, 4)) {
            closed.close();
            for (int i = 0; i < 10; i++) {
                assertThrows(ClosedException.class, () -> order.read(closed, () -> x.fill(closed, 0)));
                assertThrows(ClosedException.class, () -> order.write(closed, () -> x.fill(closed, 0)));
                order.read(stream, () -> {});
                order.write(stream, () -> {});
            }
            assertEquals(2, order.events());
        }
    }

    /** On every device alike, whether or not it needs events. */
    @ParameterizedTest
    @MethodSource("io.jindou.TestDevices#names")
    void a_capturing_stream_is_refused_before_anything_is_enqueued(String name) {
        try (Device device = Device.open(name);
                Stream stream = Stream.create(device);
                Stream another = Stream.create(device);
                StreamOrder order = new StreamOrder(device)) {
            order.write(another, () -> {});
            stream.beginCapture();
            refused(InvalidArgumentException.class, () -> order.read(stream, Assertions::fail), "'stream'", "is capturing");
            refused(InvalidArgumentException.class, () -> order.write(stream, Assertions::fail), "'stream'", "is capturing");
            stream.endCapture().close();
            order.read(stream, () -> {});
            order.write(stream, () -> {});
        }
    }

    @Test
    void the_cpu_needs_none() {
        try (Device device = Device.open("cpu"); Stream stream = Stream.create(device); StreamOrder order = new StreamOrder(device)) {
            order.read(stream, () -> {});
            order.write(stream, () -> {});
            assertEquals(0, order.events());
        }
    }

    /** The first of two calls is under way until the second has been tried. */
    @ParameterizedTest
    @MethodSource("io.jindou.TestDevices#names")
    void who_only_tries_waits_for_nobody(String name) throws Exception {
        try (Device device = Device.open(name);
                Stream stream = Stream.create(device);
                Stream another = Stream.create(device);
                StreamOrder order = new StreamOrder(device)) {
            for (boolean writes : new boolean[] {false, true}) {
                CountDownLatch begun = new CountDownLatch(1), tried = new CountDownLatch(1);
                Runnable call = () -> {
                    begun.countDown();
                    try {
                        assertTrue(tried.await(20, TimeUnit.SECONDS));
                    } catch (InterruptedException e) {
                        throw new IllegalStateException(e);
                    }
                };
                CompletableFuture<Void> first = CompletableFuture.runAsync(() -> {
                    if (writes) {
                        order.write(stream, call);
                    } else {
                        order.read(stream, call);
                    }
                });
                begun.await();
                assertFalse(order.tryWrite(another, Assertions::fail));
                tried.countDown();
                first.join();
                boolean[] ran = new boolean[1];
                assertTrue(order.tryWrite(another, () -> ran[0] = true));
                assertTrue(ran[0]);
            }
        }
    }

    /** Readers that follow each other closely, so that there is always one, let a writer in. */
    @Test
    void readers_keep_no_writer_away() throws Exception {
        try (Device device = Device.open("cpu"); StreamOrder order = new StreamOrder(device)) {
            AtomicBoolean written = new AtomicBoolean();
            List<CompletableFuture<Void>> readers = new ArrayList<>();
            for (int i = 0; i < 3; i++) {
                readers.add(CompletableFuture.runAsync(() -> {
                    try (Stream stream = Stream.create(device)) {
                        while (!written.get()) {
                            order.read(stream, () -> LockSupport.parkNanos(100_000));
                        }
                    }
                }));
            }
            try (Stream stream = Stream.create(device)) {
                order.write(stream, () -> written.set(true));
            }
            for (CompletableFuture<Void> reader : readers) {
                reader.get(20, TimeUnit.SECONDS);
            }
        }
    }
}
