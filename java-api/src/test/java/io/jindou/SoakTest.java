package io.jindou;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** Thousands of devices, plans and tensors made, used and closed: memory stays where it was. */
class SoakTest {
    private static final int CYCLES = 2000;
    /** What the heap and the allocator may still grow by; a leak of one plan or tensor a cycle is several times that. */
    private static final long SLACK_BYTES = 48L << 20;

    @ParameterizedTest
    @MethodSource("io.jindou.TestDevices#names")
    void memory_stays_flat(String name) throws Exception {
        long live = Jindou.liveObjects();
        try (Device device = Device.open(name, DeviceOptions.DEFAULT.withNumThreads(name.startsWith("cuda") ? 0 : 1));
                Stream stream = Stream.create(device)) {
            for (int i = 0; i < CYCLES / 4; i++) {
                cycle(device, stream);
            }
            long used = device.memory().usedBytes();
            long resident = settledResidentBytes();
            for (int i = 0; i < CYCLES; i++) {
                cycle(device, stream);
            }
            assertEquals(used, device.memory().usedBytes());
            long grown = settledResidentBytes() - resident;
            assertTrue(grown < SLACK_BYTES, "resident memory grew by " + grown + " bytes in " + CYCLES + " cycles");
        }
        for (int i = 0; i < 200; i++) {
            try (Device device = Device.open(name, DeviceOptions.DEFAULT.withNumThreads(name.startsWith("cuda") ? 0 : 1));
                    Stream stream = Stream.create(device)) {
                cycle(device, stream);
            }
        }
        assertEquals(live, Jindou.liveObjects());
    }

    private static void cycle(Device device, Stream stream) {
        // 32 KiB a table: a table lost in each cycle would be 64 MiB.
        try (Tensor table = Tensor.create(device, DType.F32, 2048, 4);
                EmbeddingBag bag = EmbeddingBag.plan(device, EmbeddingBagDesc.of(table, Pooling.SUM, 4, 16));
                JaggedTensor ids = JaggedTensor.of(stream, new long[] {1, 2}, new long[] {3});
                Tensor out = Tensor.create(device, DType.F32, 2, 4)) {
            table.fill(stream, 0);
            bag.run(stream, ids, out);
            assertEquals(0, out.readFloats(stream)[7]);
        }
    }

    private static long settledResidentBytes() throws IOException, InterruptedException {
        for (int i = 0; i < 3; i++) {
            System.gc();
            Thread.sleep(50);
        }
        for (String line : Files.readAllLines(Path.of("/proc/self/status"))) {
            if (line.startsWith("VmRSS:")) {
                return Long.parseLong(line.replaceAll("[^0-9]", "")) << 10;
            }
        }
        throw new IOException("/proc/self/status has no VmRSS");
    }
}
