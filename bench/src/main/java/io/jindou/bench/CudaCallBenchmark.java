package io.jindou.bench;

import java.lang.foreign.Arena;
import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.Linker;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.SymbolLookup;
import java.lang.foreign.ValueLayout;
import java.lang.invoke.MethodHandle;
import java.util.concurrent.TimeUnit;
import jcuda.driver.JCudaDriver;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.BenchmarkMode;
import org.openjdk.jmh.annotations.Fork;
import org.openjdk.jmh.annotations.Measurement;
import org.openjdk.jmh.annotations.Mode;
import org.openjdk.jmh.annotations.OutputTimeUnit;
import org.openjdk.jmh.annotations.Scope;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.State;
import org.openjdk.jmh.annotations.Warmup;

/** The same trivial driver call, cuDriverGetVersion, through FFM and through JCuda's JNI. Needs an NVIDIA driver. */
@BenchmarkMode(Mode.AverageTime)
@OutputTimeUnit(TimeUnit.NANOSECONDS)
@Warmup(iterations = 3, time = 1)
@Measurement(iterations = 5, time = 1)
@Fork(1)
public class CudaCallBenchmark {
    /** cuDriverGetVersion bound by FFM. */
    @State(Scope.Benchmark)
    public static class Ffm {
        private MethodHandle handle;
        private MemorySegment version;

        @Setup
        public void setUp() {
            Arena arena = Arena.ofShared();
            version = arena.allocate(ValueLayout.JAVA_INT);
            handle = Linker.nativeLinker().downcallHandle(
                    SymbolLookup.libraryLookup("libcuda.so.1", arena).find("cuDriverGetVersion").orElseThrow(),
                    FunctionDescriptor.of(ValueLayout.JAVA_INT, ValueLayout.ADDRESS));
        }
    }

    /** The result array of JCuda's call. */
    @State(Scope.Benchmark)
    public static class Jni {
        private final int[] version = new int[1];
    }

    @Benchmark
    public int ffm(Ffm ffm) throws Throwable {
        return (int) ffm.handle.invokeExact(ffm.version);
    }

    @Benchmark
    public int jcuda(Jni jni) {
        return JCudaDriver.cuDriverGetVersion(jni.version);
    }
}
