package io.jindou;

import static io.jindou.Rig.refused;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

class DeviceTest {
    @Test
    void every_backend_is_listed_with_a_reason_where_it_is_absent() {
        List<DeviceAvailability> devices = Device.available();
        for (String backend : List.of("cuda", "cpu", "simt")) {
            assertTrue(devices.stream().anyMatch(d -> d.name().startsWith(backend)), backend);
        }
        assertTrue(devices.stream().anyMatch(d -> d.name().equals("cpu") && d.available()));
        for (DeviceAvailability device : devices) {
            assertEquals(device.available(), device.reason().isEmpty(), device.toString());
        }
    }

    @Test
    void best_is_the_gpu_or_else_the_cpu() {
        boolean cuda = Device.available().stream().anyMatch(d -> d.name().startsWith("cuda") && d.available());
        try (Device best = Device.best()) {
            assertEquals(cuda ? "cuda" : "cpu", best.info().backend());
        }
    }

    @ParameterizedTest
    @MethodSource("io.jindou.TestDevices#names")
    void a_device_tells_what_it_is(String name) throws Exception {
        try (Rig rig = new Rig(name, DeviceOptions.DEFAULT.withNumThreads(name.equals("cuda") ? 0 : 2))) {
            DeviceInfo info = rig.device.info();
            assertEquals(name.replaceAll(":.*", ""), info.backend());
            assertFalse(info.name().isBlank());
            assertTrue(info.totalMemoryBytes() > 0);
            assertEquals(name.equals("cpu"), info.hostMemory());
            assertEquals(name.equals("cpu"), !info.isa().isEmpty());
            if (!name.startsWith("cuda")) {
                assertEquals(2, info.numThreads());
            }
            rig.device.synchronize();
            assertTrue(rig.device.toString().contains(name));
        }
    }

    @Test
    void names_that_mean_nothing_are_refused() {
        refused(InvalidArgumentException.class, () -> Device.open("gpu"), "'name'", "cuda:<n>", "gpu");
        refused(InvalidArgumentException.class, () -> Device.open(""), "'name'");
        refused(InvalidArgumentException.class, () -> Device.open("cpu:1"), "'name'", "cpu:1");
        refused(NullPointerException.class, () -> Device.open(null), "name");
        refused(NullPointerException.class, () -> Device.open("cpu", null), "options");
    }

    @Test
    void a_device_that_is_not_there_is_refused_with_the_reason() {
        refused(DeviceUnavailableException.class, () -> Device.open("cuda:4096"), "cuda");
    }

    @Test
    void bad_options_are_refused() {
        refused(InvalidArgumentException.class,
                () -> Device.open("cpu", DeviceOptions.DEFAULT.withNumThreads(-1)), "'num_threads'", "-1");
        refused(InvalidArgumentException.class,
                () -> Device.open("cpu", DeviceOptions.DEFAULT.withMemoryLimitBytes(-1)), "'memory_limit_bytes'", "-1");
    }

    @ParameterizedTest
    @MethodSource("io.jindou.TestDevices#names")
    void a_device_out_of_memory_says_so_and_recovers(String name) throws Exception {
        try (Rig rig = new Rig(name, DeviceOptions.DEFAULT.withMemoryLimitBytes(1 << 20))) {
            Tensor half = Tensor.create(rig.device, DType.U8, 600_000);
            long used = rig.device.memory().usedBytes();
            OutOfDeviceMemoryException e =
                    refused(OutOfDeviceMemoryException.class, () -> Tensor.create(rig.device, DType.U8, 600_000), "1048576");
            assertEquals(Status.OUT_OF_MEMORY, e.status());
            assertEquals(used, rig.device.memory().usedBytes());
            half.close();
            rig.keep(Tensor.create(rig.device, DType.U8, 600_000));
            assertEquals(1 << 20, rig.device.memory().limitBytes());
            assertTrue(rig.device.memory().peakBytes() >= 600_000);
        }
    }

    @ParameterizedTest
    @MethodSource("io.jindou.TestDevices#names")
    void more_memory_than_the_machine_has_is_refused(String name) throws Exception {
        try (Rig rig = new Rig(name)) {
            refused(OutOfDeviceMemoryException.class, () -> Tensor.create(rig.device, DType.U8, 1L << 50));
        }
    }

    @ParameterizedTest
    @MethodSource("io.jindou.TestDevices#names")
    void a_closed_device_refuses_everything_but_closing(String name) {
        long before = Jindou.liveObjects();
        Device device = Device.open(name);
        Stream stream = Stream.create(device);
        Tensor tensor = Tensor.of(stream, new float[] {1, 2, 3, 4}, 1, 4);
        EmbeddingBag bag = EmbeddingBag.plan(device, EmbeddingBagDesc.of(tensor, Pooling.SUM, 1, 1));
        Event event = Event.create(device);
        device.close();
        device.close();
        assertTrue(device.isClosed());
        assertEquals("cpu,simt,cuda".contains(device.info().backend()), true);

        refused(ClosedException.class, device::memory, "closed");
        refused(ClosedException.class, device::synchronize, "closed");
        refused(ClosedException.class, () -> Stream.create(device), "'device'", "closed");
        refused(ClosedException.class, () -> Tensor.create(device, DType.F32, 1), "'device'", "closed");
        refused(ClosedException.class, stream::synchronize, "closed");
        refused(ClosedException.class, () -> tensor.readFloats(stream), "closed");
        refused(ClosedException.class, tensor::address, "closed");
        refused(ClosedException.class, bag::describe, "closed");
        refused(ClosedException.class, () -> event.record(stream), "closed");

        event.close();
        bag.close();
        tensor.close();
        stream.close();
        assertEquals(before, Jindou.liveObjects());
    }
}
