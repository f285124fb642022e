package io.jindou;

import io.jindou.bindings.JindouAbi;
import io.jindou.bindings.jd_device_info;
import io.jindou.bindings.jd_device_options;
import io.jindou.bindings.jd_error;
import io.jindou.bindings.jd_memory_info;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.ref.Reference;
import java.util.ArrayList;
import java.util.List;
import java.util.Objects;

/**
 * A device that runs operators: {@code "cpu"}, an NVIDIA GPU ({@code "cuda"}, {@code "cuda:1"}), or {@code "simt"}, which runs the
 * GPU's kernels on the CPU, slowly, for tests.
 *
 * {@snippet file="io/jindou/DocumentationTest.java" region="device"}
 *
 * <p>Everything else (streams, tensors, plans) is made on a device and belongs to it: objects of two devices do not mix, even
 * when both are the same piece of hardware opened twice. All methods may be called from any thread, virtual ones included.
 */
public final class Device extends NativeObject {
    private static final String[] BACKENDS = {"cuda", "cpu", "simt"};

    private final String name;
    private final DeviceInfo info;

    private Device(String name, long handle) {
        super(handle, JindouAbi::jd_device_close);
        this.name = name;
        try {
            this.info = readInfo();
        } catch (RuntimeException e) {
            close();
            throw e;
        }
    }

    /**
     * Opens a device with {@link DeviceOptions#DEFAULT}.
     *
     * @param name {@code "cpu"}, {@code "cuda"}, {@code "cuda:n"} or {@code "simt"}
     * @return the device, to be closed
     * @throws DeviceUnavailableException when there is no such device; the message says why
     */
    public static Device open(String name) {
        return open(name, DeviceOptions.DEFAULT);
    }

    /**
     * Opens a device.
     *
     * @param name {@code "cpu"}, {@code "cuda"}, {@code "cuda:n"} or {@code "simt"}
     * @param options threads and memory limit
     * @return the device, to be closed
     * @throws DeviceUnavailableException when there is no such device; the message says why
     * @throws InvalidArgumentException when the name or an option means nothing
     */
    public static Device open(String name, DeviceOptions options) {
        Objects.requireNonNull(name, "name");
        Objects.requireNonNull(options, "options");
        Call call = Call.begin();
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment given = call.cleared(jd_device_options.sizeof());
            jd_device_options.struct_size(given, (int) jd_device_options.sizeof());
            jd_device_options.num_threads(given, options.numThreads());
            jd_device_options.memory_limit_bytes(given, options.memoryLimitBytes());
            jd_device_options.simt_seed(given, options.simtSeed());
            jd_device_options.late_streams(given, options.lateStreams() ? 1 : 0);
            call.check(JindouAbi.jd_device_open(arena.allocateFrom(name), given, call.result, call.error));
            return new Device(name, call.resultLong());
        } finally {
            call.end();
        }
    }

    /**
     * Opens the fastest device that is present: the first GPU, else the CPU.
     *
     * @return the device, to be closed; {@link #name()} tells which it is
     * @throws DeviceUnavailableException when there is none; the message gives the reason of each
     */
    public static Device best() {
        return best(DeviceOptions.DEFAULT);
    }

    /**
     * Opens the fastest device that is present: the first GPU, else the CPU.
     *
     * @param options threads and memory limit
     * @return the device, to be closed; {@link #name()} tells which it is
     * @throws DeviceUnavailableException when there is none; the message gives the reason of each
     */
    public static Device best(DeviceOptions options) {
        Objects.requireNonNull(options, "options");
        List<String> reasons = new ArrayList<>();
        for (DeviceAvailability device : available()) {
            if (device.name().equals("simt")) {
                continue;
            }
            if (device.available()) {
                return open(device.name(), options);
            }
            reasons.add(device.toString());
        }
        throw new DeviceUnavailableException("no device can be used: " + String.join("; ", reasons));
    }

    /**
     * Lists every device of every backend, usable or not, the fastest first. Never throws: when the native library itself
     * cannot be loaded, that is the reason given for each backend.
     *
     * @return one entry a device, and one for each backend that has none
     */
    public static List<DeviceAvailability> available() {
        List<DeviceAvailability> devices = new ArrayList<>();
        for (String backend : BACKENDS) {
            if (Natives.failure() != null) {
                devices.add(new DeviceAvailability(backend, false, Natives.failure()));
                continue;
            }
            Call call = Call.begin();
            try (Arena arena = Arena.ofConfined()) {
                int status = JindouAbi.jd_device_count(arena.allocateFrom(backend), call.result, call.error);
                if (status != 0) {
                    devices.add(new DeviceAvailability(backend, false, jd_error.message(call.error).getString(0)));
                    continue;
                }
                int count = call.resultInt();
                if (count == 0) {
                    devices.add(new DeviceAvailability(backend, false, "the backend has no device"));
                }
                for (int i = 0; i < count; i++) {
                    devices.add(new DeviceAvailability(backend.equals("cuda") ? "cuda:" + i : backend, true, ""));
                }
            } finally {
                call.end();
            }
        }
        return List.copyOf(devices);
    }

    /**
     * The name it was opened by.
     *
     * @return for example {@code "cuda:0"}
     */
    public String name() {
        return name;
    }

    /**
     * What the device is.
     *
     * @return its description, read once when it was opened
     */
    public DeviceInfo info() {
        return info;
    }

    /**
     * Memory held through this device now.
     *
     * @return the figures
     * @throws ClosedException when the device is closed
     */
    public MemoryInfo memory() {
        Call call = Call.begin();
        try {
            MemorySegment memory = call.cleared(jd_memory_info.sizeof());
            jd_memory_info.struct_size(memory, (int) jd_memory_info.sizeof());
            call.check(JindouAbi.jd_device_memory(handle, memory, call.error));
            return new MemoryInfo(
                    jd_memory_info.used_bytes(memory), jd_memory_info.peak_bytes(memory), jd_memory_info.limit_bytes(memory));
        } finally {
            call.end();
            Reference.reachabilityFence(this);
        }
    }

    /**
     * Waits for all streams of the device: for the work of calls that have returned. On the cpu a call does its work itself, so that there is
     * none to wait for.
     *
     * @throws ClosedException when the device is closed
     */
    public void synchronize() {
        Call call = Call.begin();
        try {
            call.check(JindouAbi.jd_device_synchronize(handle, call.error));
        } finally {
            call.end();
            Reference.reachabilityFence(this);
        }
    }

    /**
     * Closes the device. Blocks until calls now inside it have returned. Its streams, tensors and plans can still be closed, but
     * every other call on them throws {@link ClosedException}; their memory is freed when the last of them is closed.
     */
    @Override
    public void close() {
        super.close();
    }

    @Override
    public String toString() {
        return "Device[" + name + ", " + info.name() + "]";
    }

    private DeviceInfo readInfo() {
        Call call = Call.begin();
        try {
            MemorySegment read = call.cleared(jd_device_info.sizeof());
            jd_device_info.struct_size(read, (int) jd_device_info.sizeof());
            call.check(JindouAbi.jd_device_get_info(handle, read, call.error));
            return new DeviceInfo(
                    jd_device_info.backend(read).getString(0),
                    jd_device_info.ordinal(read),
                    jd_device_info.name(read).getString(0),
                    jd_device_info.isa(read).getString(0),
                    jd_device_info.num_threads(read),
                    jd_device_info.compute_capability(read),
                    jd_device_info.total_memory_bytes(read),
                    jd_device_info.host_memory(read) != 0,
                    jd_device_info.driver_version(read));
        } finally {
            call.end();
        }
    }
}
