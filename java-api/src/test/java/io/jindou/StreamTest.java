package io.jindou;

import static io.jindou.Rig.refused;
import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** Streams, events and graphs. */
class StreamTest {
    @ParameterizedTest
    @MethodSource("io.jindou.TestDevices#names")
    void events_happen_in_order(String name) throws Exception {
        try (Rig rig = new Rig(name)) {
            Event start = rig.keep(Event.create(rig.device));
            Event end = rig.keep(Event.create(rig.device));
            Stream other = rig.keep(Stream.create(rig.device));
            Tensor x = rig.floats(new float[64], 16, 4);
            start.record(rig.stream);
            Blocks.l2Normalize(rig.stream, x, 1, x);
            end.record(rig.stream);
            end.holdBack(other);
            other.synchronize();
            end.synchronize();
            assertTrue(end.isDone());
            assertTrue(start.millisUntil(end) >= 0);
            assertEquals(rig.device, end.device());
            refused(NullPointerException.class, () -> end.record(null), "'stream'");
            refused(NullPointerException.class, () -> Event.create(null), "'device'");
            Event fresh = rig.keep(Event.create(rig.device));
            fresh.synchronize();
            refused(InvalidArgumentException.class, () -> start.millisUntil(fresh), "'end'", "never recorded");
            Event closed = Event.create(rig.device);
            closed.close();
            refused(ClosedException.class, () -> closed.record(rig.stream), "'event'", "closed");
        }
    }

    @ParameterizedTest
    @MethodSource("io.jindou.TestDevices#names")
    void host_memory_is_copied_in_the_order_of_a_stream(String name) throws Exception {
        try (Rig rig = new Rig(name)) {
            HostMemory memory = rig.keep(HostMemory.create(rig.device, 64));
            MemorySegment segment = memory.segment();
            assertEquals(64, segment.byteSize());
            assertEquals(0, segment.address() % 64);
            for (int i = 0; i < 16; i++) {
                segment.setAtIndex(ValueLayout.JAVA_FLOAT, i, i);
            }
            Tensor x = rig.poisoned(DType.F32, 4);
            x.writeFrom(rig.stream, memory, 8);
            x.readInto(rig.stream, memory, 48);
            rig.stream.synchronize();
            assertEquals(2, segment.getAtIndex(ValueLayout.JAVA_FLOAT, 12));
            assertEquals(5, segment.getAtIndex(ValueLayout.JAVA_FLOAT, 15));
            refused(InvalidArgumentException.class, () -> x.writeFrom(rig.stream, memory, 49), "'offset'", "0..48", "49");
            refused(InvalidArgumentException.class, () -> x.readInto(rig.stream, memory, -1), "'offset'");
            refused(InvalidArgumentException.class, () -> HostMemory.create(rig.device, -1), "'bytes'");
            refused(NullPointerException.class, () -> x.readInto(rig.stream, null, 0), "'target'");
            HostMemory closed = HostMemory.create(rig.device, 16);
            MemorySegment gone = closed.segment();
            closed.close();
            closed.close();
            refused(ClosedException.class, () -> x.writeFrom(rig.stream, closed, 0), "'source'", "closed");
            assertThrows(IllegalStateException.class, () -> gone.get(ValueLayout.JAVA_BYTE, 0));
            assertEquals(0, rig.keep(HostMemory.create(rig.device, 0)).segment().byteSize());
        }
    }

    @ParameterizedTest
    @MethodSource("io.jindou.TestDevices#names")
    void a_graph_repeats_what_was_recorded(String name) throws Exception {
        try (Rig rig = new Rig(name)) {
            Tensor x = rig.floats(new float[] {3, 4, 0, 0}, 1, 4);
            Tensor unit = rig.poisoned(DType.F32, 1, 4);
            Tensor copy = Tensor.create(rig.device, DType.F32, 1, 4);
            copy.fill(rig.stream, 0);
            Graph graph = rig.keep(Graph.capture(rig.stream, () -> {
                Blocks.l2Normalize(rig.stream, x, 1e-6f, unit);
                copy.copyFrom(rig.stream, unit);
            }));
            assertArrayEquals(new float[4], copy.readFloats(rig.stream), "recorded, not run");
            graph.launch(rig.stream);
            assertArrayEquals(new float[] {0.6f, 0.8f, 0, 0}, copy.readFloats(rig.stream), 1e-6f);
            x.write(rig.stream, new float[] {0, 0, 0, 5});
            // The graph keeps its tensors alive.
            copy.close();
            graph.launch(rig.stream);
            assertArrayEquals(new float[] {0, 0, 0, 1}, unit.readFloats(rig.stream), 1e-6f);
        }
    }

    @ParameterizedTest
    @MethodSource("io.jindou.TestDevices#names")
    void misuse_of_capture_is_refused(String name) throws Exception {
        try (Rig rig = new Rig(name)) {
            Tensor x = rig.floats(new float[4], 1, 4);
            refused(InvalidArgumentException.class, rig.stream::endCapture, "'stream'", "not capturing");
            assertFalse(rig.stream.isCapturing());
            rig.stream.beginCapture();
            assertTrue(rig.stream.isCapturing());
            refused(InvalidArgumentException.class, rig.stream::beginCapture, "'stream'", "capturing already");
            refused(InvalidArgumentException.class, rig.stream::synchronize, "'stream'", "captur");
            refused(InvalidArgumentException.class, () -> x.readFloats(rig.stream), "'stream'", "captur");
            refused(InvalidArgumentException.class, () -> x.write(rig.stream, new float[4]), "'stream'", "captur");
            rig.stream.endCapture().close();
            assertFalse(rig.stream.isCapturing());
            RuntimeException own = new RuntimeException("the user's");
            assertEquals(own, assertThrows(RuntimeException.class, () -> Graph.capture(rig.stream, () -> {
                throw own;
            })));
            rig.stream.synchronize();
            Graph closed = Graph.capture(rig.stream, () -> {});
            closed.launch(rig.stream);
            closed.close();
            refused(ClosedException.class, () -> closed.launch(rig.stream), "'graph'", "closed");
            refused(NullPointerException.class, () -> Graph.capture(null, () -> {}), "'stream'");
            refused(NullPointerException.class, () -> Graph.capture(rig.stream, null), "work");
        }
    }

    @ParameterizedTest
    @MethodSource("io.jindou.TestDevices#names")
    void streams_of_others_are_wrapped_on_cuda_only(String name) throws Exception {
        try (Rig rig = new Rig(name)) {
            if (name.startsWith("cuda")) {
                assertNotEquals(0, rig.stream.address());
                Stream wrapped = rig.keep(Stream.wrap(rig.device, rig.stream.address()));
                assertEquals(rig.stream.address(), wrapped.address());
                wrapped.synchronize();
            } else {
                assertEquals(0, rig.stream.address());
                refused(UnsupportedException.class, () -> Stream.wrap(rig.device, 4096), "'device'");
            }
            refused(NullPointerException.class, () -> Stream.create(null), "'device'");
            Stream closed = Stream.create(rig.device);
            closed.close();
            refused(ClosedException.class, closed::synchronize, "'stream'", "closed");
        }
    }
}
