package io.jindou;

import static io.jindou.Rig.refused;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.logging.Handler;
import java.util.logging.LogRecord;
import java.util.logging.Logger;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

class LifetimeTest {
    private static final long WAIT_NANOS = 30_000_000_000L;

    @ParameterizedTest
    @MethodSource("io.jindou.TestDevices#names")
    void closing_twice_is_harmless(String name) throws Exception {
        try (Rig rig = new Rig(name)) {
            Tensor tensor = Tensor.create(rig.device, DType.F32, 8);
            assertFalse(tensor.isClosed());
            long live = Jindou.liveObjects();
            tensor.close();
            tensor.close();
            assertTrue(tensor.isClosed());
            assertEquals(live - 1, Jindou.liveObjects());
            refused(ClosedException.class, tensor::address, "'tensor'", "closed");
            refused(ClosedException.class, () -> tensor.fill(rig.stream, 0), "'tensor'", "closed");
            assertEquals("F32", tensor.dtype().name(), "what is known without the library stays readable");
        }
    }

    @Test
    @Timeout(60)
    void what_is_forgotten_is_released_by_the_garbage_collector() throws Exception {
        long before = Jindou.liveObjects();
        forget();
        while (Jindou.liveObjects() > before) {
            System.gc();
            Thread.sleep(20);
        }
        assertEquals(before, Jindou.liveObjects());
    }

    @Test
    @Timeout(60)
    void what_is_forgotten_is_logged_on_demand() throws Exception {
        List<String> messages = java.util.Collections.synchronizedList(new ArrayList<>());
        Logger logger = Logger.getLogger("io.jindou");
        Handler handler = new Handler() {
            @Override
            public void publish(LogRecord record) {
                messages.add(record.getLevel() + " " + java.text.MessageFormat.format(record.getMessage(), record.getParameters()));
            }

            @Override
            public void flush() {}

            @Override
            public void close() {}
        };
        logger.addHandler(handler);
        logger.setUseParentHandlers(false);
        System.setProperty("jindou.warn.unclosed", "true");
        try {
            long before = Jindou.liveObjects();
            forget();
            while (Jindou.liveObjects() > before) {
                System.gc();
                Thread.sleep(20);
            }
            assertTrue(messages.contains("WARNING never closed: EmbeddingBag (released by the garbage collector)"), messages.toString());
        } finally {
            System.clearProperty("jindou.warn.unclosed");
            logger.setUseParentHandlers(true);
            logger.removeHandler(handler);
        }
    }

    private static void forget() {
        Device device = Device.open("cpu");
        Stream stream = Stream.create(device);
        Tensor table = Tensor.of(stream, new float[4], 1, 4);
        EmbeddingBag bag = EmbeddingBag.plan(device, EmbeddingBagDesc.of(table, Pooling.SUM, 1, 1));
        assertTrue(bag.describe().length() > 0);
    }

    /** A device closed while many virtual threads use it: every call ends with a result or a ClosedException, and nothing is lost. */
    @ParameterizedTest
    @MethodSource("io.jindou.TestDevices#names")
    @Timeout(120)
    void a_device_may_be_closed_while_others_use_it(String name) throws Exception {
        long before = Jindou.liveObjects();
        for (int round = 0; round < 5; round++) {
            Device device = Device.open(name);
            Stream setup = Stream.create(device);
            Tensor table = Tensor.of(setup, new float[400], 100, 4);
            EmbeddingBag bag = EmbeddingBag.plan(device, EmbeddingBagDesc.of(table, Pooling.SUM, 1, 8));
            JaggedTensor ids = JaggedTensor.of(setup, new long[] {1, 2, 3});
            int workers = 64;
            CountDownLatch running = new CountDownLatch(workers);
            List<Future<?>> results = new ArrayList<>();
            try (var threads = Executors.newVirtualThreadPerTaskExecutor()) {
                for (int i = 0; i < workers; i++) {
                    results.add(threads.submit(() -> {
                        try (Stream stream = Stream.create(device);
                                Tensor out = Tensor.create(device, DType.F32, 1, 4)) {
                            running.countDown();
                            for (long end = System.nanoTime() + WAIT_NANOS; System.nanoTime() < end; ) {
                                bag.run(stream, ids, out);
                                out.readFloats(stream);
                                // More workers than carrier threads: each must let the others in. (To yield is not enough: the
                                // scheduler then starves those that wait for a monitor.)
                                Thread.sleep(1);
                            }
                            throw new AssertionError("the device was never closed");
                        } catch (ClosedException e) {
                            return null;
                        } finally {
                            running.countDown();
                        }
                    }));
                }
                running.await();
                Thread.sleep(5L * round);
                device.close();
                threads.shutdown();
                assertTrue(threads.awaitTermination(60, TimeUnit.SECONDS));
            }
            for (Future<?> result : results) {
                result.get();
            }
            ids.close();
            bag.close();
            table.close();
            setup.close();
            assertEquals(before, Jindou.liveObjects());
        }
        try (Rig rig = new Rig(name)) {
            rig.stillWorks();
        }
    }

    /** Tensors closed by one thread while another reads them. */
    @ParameterizedTest
    @MethodSource("io.jindou.TestDevices#names")
    @Timeout(120)
    void a_tensor_may_be_closed_while_others_use_it(String name) throws Exception {
        try (Rig rig = new Rig(name);
                var threads = Executors.newVirtualThreadPerTaskExecutor()) {
            for (int round = 0; round < 50; round++) {
                Tensor tensor = Tensor.of(rig.stream, new float[64], 64);
                Future<?> reader = threads.submit(() -> {
                    try (Stream stream = Stream.create(rig.device)) {
                        for (long end = System.nanoTime() + WAIT_NANOS; System.nanoTime() < end; ) {
                            tensor.readFloats(stream);
                        }
                        throw new AssertionError("the tensor was never closed");
                    } catch (ClosedException e) {
                        return null;
                    }
                });
                Thread.sleep(1);
                tensor.close();
                reader.get(30, TimeUnit.SECONDS);
            }
        }
    }
}
