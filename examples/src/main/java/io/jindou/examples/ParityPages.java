package io.jindou.examples;

import io.jindou.DType;
import io.jindou.Device;
import io.jindou.HostTensor;
import io.jindou.PagedCache;
import io.jindou.PagedCacheDesc;
import io.jindou.PagedKeysValues;
import io.jindou.Stream;
import io.jindou.Tensor;
import java.io.IOException;
import java.lang.foreign.ValueLayout;
import java.util.LinkedHashMap;
import java.util.Map;

/** Parity cases of a paged cache: {@code keys} and {@code values} of sequences ({@code offsets}), appended to an empty one. */
final class ParityPages {
    private static final Map<String, DType> CACHES =
            Map.of("f32", DType.F32, "f16", DType.F16, "bf16", DType.BF16, "fp8", DType.F8_E4M3, "int8", DType.I8);

    private ParityPages() {}

    private record Filled(PagedCache cache, long[] users, Tensor keys, Tensor values) {}

    /**
     * paged_append: outputs {@code keys} and {@code values}, what the pages hold, found here by the page table and not by the library; of
     * int8 also {@code key_scales} and {@code value_scales} {@code [total, Hkv]}.
     */
    static Map<String, HostTensor> pagedAppend(ParityCase given, Device device, Stream stream, Scope scope) throws IOException {
        Filled filled = fill(given, device, stream, scope);
        Map<String, HostTensor> named = new LinkedHashMap<>();
        try (PagedKeysValues pages = filled.cache.batch(stream, filled.users)) {
            read(named, "key", pages.keyPages(), pages.keyScales(), pages, stream, filled.keys.dim(0));
            read(named, "value", pages.valuePages(), pages.valueScales(), pages, stream, filled.values.dim(0));
        }
        return named;
    }

    /** paged_gather of what was appended: outputs {@code keys} and {@code values}. */
    static Map<String, HostTensor> pagedGather(ParityCase given, Device device, Stream stream, Scope scope) throws IOException {
        Filled filled = fill(given, device, stream, scope);
        Tensor keys = scope.keep(Tensor.create(device, filled.keys.dtype(), filled.keys.shape()));
        Tensor values = scope.keep(Tensor.create(device, filled.values.dtype(), filled.values.shape()));
        keys.fill(stream, 0xff);
        values.fill(stream, 0xff);
        filled.cache.gather(stream, filled.users, keys, values);
        return Map.of("keys", keys.readHost(stream), "values", values.readHost(stream));
    }

    /** Appends the rows of each sequence, {@code rows_a_call} at a time, the sequences in turn, so that their pages lie between each other. */
    private static Filled fill(ParityCase given, Device device, Stream stream, Scope scope) throws IOException {
        Tensor keys = scope.keep(Tensor.of(stream, given.floats("keys", 3)));
        Tensor values = scope.keep(Tensor.of(stream, given.floats("values", 3)));
        long[] offsets = given.integers("offsets").toLongs();
        DType dtype = CACHES.get(given.word("cache_dtype", "f32", CACHES.keySet()));
        int pageSize = given.intParam("page_size", 16), rowsACall = given.intParam("rows_a_call", Integer.MAX_VALUE);
        float keyScale = (float) given.number("key_scale", 1), valueScale = (float) given.number("value_scale", 1);
        given.checkAllUsed();
        long[] users = new long[offsets.length - 1];
        long numPages = 1, longest = 0;
        for (int b = 0; b < users.length; b++) {
            users[b] = 1000 - b;
            numPages += Math.ceilDiv(offsets[b + 1] - offsets[b], pageSize);
            longest = Math.max(longest, offsets[b + 1] - offsets[b]);
        }
        PagedCacheDesc desc = PagedCacheDesc.of(
                        keys.dtype(), numPages, Math.toIntExact(keys.dim(1)), Math.toIntExact(keys.dim(2)))
                .withHeadDimV(Math.toIntExact(values.dim(2)))
                .withPageSize(pageSize)
                .withCacheDType(dtype)
                .withMaxBatch(users.length);
        PagedCache cache = scope.keep(
                dtype == DType.F8_E4M3
                        ? PagedCache.create(
                                device,
                                desc,
                                scope.keep(Tensor.of(stream, new float[] {keyScale}, 1)),
                                scope.keep(Tensor.of(stream, new float[] {valueScale}, 1)))
                        : PagedCache.create(device, desc));
        for (long done = 0; done < longest; done += rowsACall) {
            for (int b = 0; b < users.length; b++) {
                long first = offsets[b] + done, count = Math.min(rowsACall, offsets[b + 1] - first);
                if (count > 0) {
                    cache.append(stream, users[b], scope.keep(rows(keys, first, count)), scope.keep(rows(values, first, count)));
                }
            }
        }
        return new Filled(cache, users, keys, values);
    }

    private static Tensor rows(Tensor of, long first, long count) {
        return of.view(first * of.dim(1) * of.dim(2), new long[] {count, of.dim(1), of.dim(2)}, null);
    }

    private static void read(
            Map<String, HostTensor> named, String what, Tensor pages, Tensor scales, PagedKeysValues of, Stream stream, long total) {
        HostTensor codes = pages.readHost(stream);
        float[] factors = scales == null ? null : scales.readFloats(stream);
        boolean each = pages.dtype() == DType.I8; // a scale a row and head, else one for all
        int[] table = of.pageTable().readInts(stream), lengths = of.seqLens().readInts(stream);
        int pageSize = (int) pages.dim(1), heads = (int) pages.dim(2), dim = (int) pages.dim(3);
        float[] numbers = new float[Math.toIntExact(total * heads * dim)], rowScales = new float[Math.toIntExact(total * heads)];
        float[] wide = pages.dtype().size() > 1 ? codes.toFloats() : null;
        int at = 0;
        for (int b = 0; b < lengths.length; b++) {
            for (int r = 0; r < lengths[b]; r++) {
                int place = table[b * table.length / lengths.length + r / pageSize] * pageSize + r % pageSize;
                for (int i = 0; i < heads * dim; i++) {
                    int from = place * heads * dim + i;
                    float factor = factors == null ? 1 : factors[each ? place * heads + i / dim : 0];
                    byte code = wide == null ? codes.data().get(ValueLayout.JAVA_BYTE, from) : 0;
                    numbers[at * heads * dim + i] = factor * (wide != null ? wide[from] : each ? code : e4m3(code));
                    rowScales[at * heads + i / dim] = factor;
                }
                at++;
            }
        }
        named.put(what + "s", HostTensor.of(numbers, total, heads, dim));
        if (each) {
            named.put(what + "_scales", HostTensor.of(rowScales, total, heads));
        }
    }

    /** Four bits of exponent with a bias of 7, three of mantissa. */
    private static float e4m3(byte code) {
        int exponent = code >> 3 & 15, mantissa = code & 7;
        double size = exponent == 0 ? Math.scalb(mantissa, -9) : Math.scalb(8 + mantissa, exponent - 10);
        return (float) (code < 0 ? -size : size);
    }
}
