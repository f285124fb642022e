package io.jindou.bench;

import io.jindou.DType;
import io.jindou.Device;
import io.jindou.Stream;
import io.jindou.Tensor;
import java.util.concurrent.TimeUnit;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.BenchmarkMode;
import org.openjdk.jmh.annotations.Fork;
import org.openjdk.jmh.annotations.Measurement;
import org.openjdk.jmh.annotations.Mode;
import org.openjdk.jmh.annotations.OutputTimeUnit;
import org.openjdk.jmh.annotations.Param;
import org.openjdk.jmh.annotations.Scope;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.State;
import org.openjdk.jmh.annotations.TearDown;
import org.openjdk.jmh.annotations.Warmup;

/** The copy bandwidth of a device: {@code mebibytes} are read and as many written. A limit for what moves bytes. */
@BenchmarkMode(Mode.SampleTime)
@OutputTimeUnit(TimeUnit.MICROSECONDS)
@Warmup(iterations = 2, time = 1)
@Measurement(iterations = 5, time = 1)
@Fork(1)
@State(Scope.Benchmark)
public class DeviceCopyBenchmark {
    @Param("cpu")
    public String device;

    @Param("512")
    public int mebibytes;

    private Device opened;
    private Stream stream;
    private Tensor source;
    private Tensor target;

    @Setup
    public void setUp() {
        opened = Device.open(device);
        stream = Stream.create(opened);
        source = Tensor.create(opened, DType.U8, (long) mebibytes << 20);
        target = Tensor.create(opened, DType.U8, (long) mebibytes << 20);
        source.fill(stream, 1);
    }

    @TearDown
    public void tearDown() {
        source.close();
        target.close();
        stream.close();
        opened.close();
    }

    @Benchmark
    public void copy() {
        target.copyFrom(stream, source);
        stream.synchronize();
    }
}
