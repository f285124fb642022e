package io.jindou.store;

import io.jindou.DType;
import io.jindou.Device;
import io.jindou.HostTensor;
import java.nio.file.Path;
import java.util.Arrays;

/**
 * A process to be killed. It updates batches of keys for ever, version by version, and prints each version when it is durable; told
 * so, it snapshots, restores or compacts as well.
 */
final class Victim {
    static final int DIM = 64, KEYS = 100;

    private Victim() {}

    static long[] keys() {
        long[] keys = new long[KEYS];
        Arrays.setAll(keys, i -> i * 7919L);
        return keys;
    }

    static HostTensor rows(float version) {
        float[] values = new float[KEYS * DIM];
        Arrays.fill(values, version);
        return HostTensor.of(values, KEYS, DIM);
    }

    static TieredTableDesc desc() {
        return TieredTableDesc.of(DType.F32, DIM, 50, KEYS);
    }

    /** Arguments: directory, what ("update", "snapshot", "restore" or "compact"), the first version. */
    public static void main(String[] arguments) throws Exception {
        Path directory = Path.of(arguments[0]), file = directory.resolveSibling("snapshot.safetensors");
        String what = arguments[1];
        try (Device device = Device.open("cpu"); TieredTable table = TieredTable.open(device, directory, desc())) {
            if (!what.equals("update")) {
                // Beside the updates, all the time. A restore brings back an old version, so it is told with the snapshot's.
                Thread beside = Thread.ofPlatform().daemon().start(() -> {
                    try {
                        while (true) {
                            switch (what) {
                                case "snapshot" -> table.snapshot(file);
                                case "compact" -> table.compact();
                                default -> table.restore(file);
                            }
                        }
                    } catch (Exception e) {
                        e.printStackTrace();
                        Runtime.getRuntime().halt(3);
                    }
                });
                assert beside.isDaemon();
            }
            for (int version = Integer.parseInt(arguments[2]); ; version++) {
                table.update(keys(), rows(version));
                System.out.println(version);
                System.out.flush();
            }
        }
    }
}
