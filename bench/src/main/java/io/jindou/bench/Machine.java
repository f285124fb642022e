package io.jindou.bench;

import java.lang.foreign.Arena;
import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.Linker;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.SymbolLookup;
import java.lang.foreign.ValueLayout;
import java.lang.invoke.MethodHandle;
import java.nio.file.Path;

/** The machine's limits, measured by {@code bench/native/limits.cpp}; not part of Jindou, so bound here by hand. */
final class Machine {
    private static final Linker LINKER = Linker.nativeLinker();
    private static final SymbolLookup LIBRARY = SymbolLookup.libraryLookup(
            Path.of(System.getProperty("jindou.limits.library", "build/bench/libjindou_limits.so")).toAbsolutePath(),
            Arena.global());
    private static final MethodHandle FMA = handle("jl_fma", FunctionDescriptor.of(
            ValueLayout.JAVA_FLOAT, ValueLayout.JAVA_DOUBLE, ValueLayout.JAVA_INT));
    private static final MethodHandle BF16_DOT = handle("jl_bf16_dot", FunctionDescriptor.of(
            ValueLayout.JAVA_FLOAT, ValueLayout.JAVA_DOUBLE, ValueLayout.JAVA_INT));
    private static final MethodHandle HAS_BF16_DOT =
            handle("jl_has_bf16_dot", FunctionDescriptor.of(ValueLayout.JAVA_INT));
    private static final MethodHandle GATHER = handle("jl_gather", FunctionDescriptor.of(
            ValueLayout.JAVA_LONG, ValueLayout.ADDRESS, ValueLayout.JAVA_LONG, ValueLayout.ADDRESS, ValueLayout.JAVA_LONG,
            ValueLayout.JAVA_INT, ValueLayout.JAVA_INT));
    private static final MethodHandle REPEAT_RUN = handle("jl_repeat_run", FunctionDescriptor.of(
            ValueLayout.JAVA_INT, ValueLayout.ADDRESS, ValueLayout.JAVA_LONG, ValueLayout.JAVA_LONG, ValueLayout.ADDRESS,
            ValueLayout.ADDRESS, ValueLayout.JAVA_LONG));
    private static final MethodHandle ALLOC =
            handle("jl_alloc", FunctionDescriptor.of(ValueLayout.ADDRESS, ValueLayout.JAVA_LONG));

    private Machine() {}

    private static MethodHandle handle(String name, FunctionDescriptor descriptor) {
        return LINKER.downcallHandle(LIBRARY.find(name).orElseThrow(), descriptor);
    }

    /** Loads the library, also for the JNI method of {@link CallBenchmark}. */
    static void loadForJni() {
        System.load(Path.of(System.getProperty("jindou.limits.library", "build/bench/libjindou_limits.so"))
                .toAbsolutePath()
                .toString());
    }

    /** Does that many operations as f32 multiply-adds in registers. */
    static float fma(double flops, int threads) {
        try {
            return (float) FMA.invokeExact(flops, threads);
        } catch (Throwable failed) {
            throw new AssertionError(failed);
        }
    }

    private static boolean hasBf16Dot() {
        try {
            return (int) HAS_BF16_DOT.invokeExact() != 0;
        } catch (Throwable failed) {
            throw new AssertionError(failed);
        }
    }

    /** Does that many operations as bf16 dot products in registers; as f32 multiply-adds where the processor has none. */
    static float bf16Dot(double flops, int threads) {
        if (!hasBf16Dot()) {
            return fma(flops, threads);
        }
        try {
            return (float) BF16_DOT.invokeExact(flops, threads);
        } catch (Throwable failed) {
            throw new AssertionError(failed);
        }
    }

    /** Reads every cache line of the rows named by ids. */
    static long gather(MemorySegment table, long rowBytes, MemorySegment ids, long count, int ahead, int threads) {
        try {
            return (long) GATHER.invokeExact(table, rowBytes, ids, count, ahead, threads);
        } catch (Throwable failed) {
            throw new AssertionError(failed);
        }
    }

    /** Calls an operator's run function {@code times} times from native code. */
    static int repeatRun(MemorySegment run, long plan, long stream, MemorySegment args, MemorySegment error, long times) {
        try {
            return (int) REPEAT_RUN.invokeExact(run, plan, stream, args, error, times);
        } catch (Throwable failed) {
            throw new AssertionError(failed);
        }
    }

    /** Memory on huge pages where the system grants them, for the life of the process. */
    static MemorySegment allocate(long bytes) {
        try {
            return ((MemorySegment) ALLOC.invokeExact(bytes)).reinterpret(bytes);
        } catch (Throwable failed) {
            throw new AssertionError(failed);
        }
    }
}
