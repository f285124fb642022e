package io.jindou;

import static io.jindou.Rig.refused;
import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.Arrays;
import java.util.HashMap;
import java.util.Map;
import java.util.Random;
import java.util.Set;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

class PagedCacheTest {
    private static final int HEADS = 2, DIM = 32, WIDTH = HEADS * DIM;

    private static PagedCacheDesc desc(long pages) {
        return PagedCacheDesc.of(DType.F32, pages, HEADS, DIM).withPageSize(16);
    }

    private static float[] gathered(Rig rig, PagedCache cache, long user) {
        int rows = cache.length(user);
        Tensor keys = rig.poisoned(DType.F32, rows, HEADS, DIM), values = rig.poisoned(DType.F32, rows, HEADS, DIM);
        cache.gather(rig.stream, new long[] {user}, keys, values);
        float[] result = keys.readFloats(rig.stream);
        float[] negated = values.readFloats(rig.stream);
        for (int i = 0; i < result.length; i++) {
            assertEquals(-result[i], negated[i], 1e-30f);
        }
        return result;
    }

    private static float[] negated(float[] x) {
        float[] result = new float[x.length];
        for (int i = 0; i < x.length; i++) {
            result[i] = -x[i];
        }
        return result;
    }

    /** Many appends and evictions, beside a map of what each user should have. */
    @ParameterizedTest
    @MethodSource("io.jindou.TestDevices#names")
    void users_come_and_go(String name) throws Exception {
        try (Rig rig = new Rig(name)) {
            PagedCache cache = rig.keep(PagedCache.create(rig.device, desc(24)));
            Map<Long, float[]> expected = new HashMap<>();
            Random random = new Random(1);
            int refusals = 0;
            for (int step = 0; step < 120; step++) {
                long user = random.nextInt(5);
                int count = random.nextInt(60);
                float[] rows = Rig.random(random, count, HEADS, DIM);
                int free = cache.freePages();
                try (Tensor keys = Tensor.of(rig.stream, rows, count, HEADS, DIM);
                        Tensor values = Tensor.of(rig.stream, negated(rows), count, HEADS, DIM)) {
                    cache.append(rig.stream, user, keys, values);
                    float[] before = expected.getOrDefault(user, new float[0]);
                    float[] all = Arrays.copyOf(before, before.length + rows.length);
                    System.arraycopy(rows, 0, all, before.length, rows.length);
                    expected.put(user, all);
                } catch (OutOfPagesException e) {
                    refusals++;
                    assertEquals(free, e.free());
                    assertTrue(e.needed() > free, e.getMessage());
                    assertEquals(free, cache.freePages());
                    int pages = cache.evict(user);
                    assertEquals(free + pages, cache.freePages());
                    expected.remove(user);
                }
                for (long each = 0; each < 5; each++) {
                    float[] should = expected.getOrDefault(each, new float[0]);
                    assertEquals(should.length / WIDTH, cache.length(each));
                }
                assertArrayEquals(expected.getOrDefault(user, new float[0]), gathered(rig, cache, user));
            }
            assertTrue(refusals > 5, "the pool is too large for this test");
            for (long each = 0; each < 5; each++) {
                assertArrayEquals(expected.getOrDefault(each, new float[0]), gathered(rig, cache, each));
                cache.evict(each);
            }
            assertEquals(24, cache.freePages());
            assertEquals(Set.of(), cache.users());
        }
    }

    @ParameterizedTest
    @MethodSource("io.jindou.TestDevices#names")
    void a_batch_is_appended_and_tabled_together(String name) throws Exception {
        try (Rig rig = new Rig(name)) {
            PagedCache cache = rig.keep(PagedCache.create(rig.device, desc(8)));
            float[] rows = Rig.random(new Random(2), 45, HEADS, DIM);
            Tensor keys = rig.floats(rows, 45, HEADS, DIM), values = rig.floats(negated(rows), 45, HEADS, DIM);
            long[] users = {70, -3, 9};
            cache.append(rig.stream, users, new int[] {17, 0, 28}, keys, values);
            assertArrayEquals(Arrays.copyOfRange(rows, 0, 17 * WIDTH), gathered(rig, cache, 70));
            assertArrayEquals(Arrays.copyOfRange(rows, 17 * WIDTH, 45 * WIDTH), gathered(rig, cache, 9));
            assertEquals(4, cache.freePages());
            PagedKeysValues batch = rig.keep(cache.batch(rig.stream, 9, 70, 1000));
            assertArrayEquals(new int[] {28, 17, 0}, batch.seqLens().readInts(rig.stream));
            assertArrayEquals(new long[] {3, 2}, batch.pageTable().shape());
            assertEquals(3, batch.batch());
            int[] pages = batch.pageTable().readInts(rig.stream);
            assertEquals(4, Arrays.stream(pages).limit(4).distinct().count());
            assertEquals("PagedCache[3 users, 4 of 8 pages free, F32]", cache.toString());
        }
    }

    @ParameterizedTest
    @MethodSource("io.jindou.TestDevices#names")
    void the_last_rows_can_be_forgotten(String name) throws Exception {
        try (Rig rig = new Rig(name)) {
            PagedCache cache = rig.keep(PagedCache.create(rig.device, desc(4)));
            float[] rows = Rig.random(new Random(4), 50, HEADS, DIM), other = Rig.random(new Random(5), 30, HEADS, DIM);
            Tensor keys = rig.floats(rows, 50, HEADS, DIM), values = rig.floats(negated(rows), 50, HEADS, DIM);
            cache.append(rig.stream, 3, keys, values);
            assertEquals(0, cache.freePages());
            assertEquals(2, cache.truncate(3, 20));
            assertEquals(0, cache.truncate(3, 20));
            assertEquals(2, cache.freePages());
            cache.append(
                    rig.stream, 3, rig.floats(other, 30, HEADS, DIM), rig.floats(negated(other), 30, HEADS, DIM));
            float[] expected = Arrays.copyOf(rows, 50 * WIDTH);
            System.arraycopy(other, 0, expected, 20 * WIDTH, 30 * WIDTH);
            assertArrayEquals(expected, gathered(rig, cache, 3));
            refused(InvalidArgumentException.class, () -> cache.truncate(3, 51), "expected 0..50", "got 51");
            refused(InvalidArgumentException.class, () -> cache.truncate(9, 1), "expected 0..0");
            assertEquals(0, cache.truncate(9, 0));
            assertEquals(4, cache.truncate(3, 0));
            assertEquals(4, cache.freePages());
        }
    }

    @ParameterizedTest
    @MethodSource("io.jindou.TestDevices#names")
    void quantised_pages_keep_about_what_they_are_given(String name) throws Exception {
        try (Rig rig = new Rig(name)) {
            float[] rows = Rig.random(new Random(3), 20, HEADS, DIM);
            Tensor keys = rig.floats(rows, 20, HEADS, DIM), values = rig.floats(negated(rows), 20, HEADS, DIM);
            Tensor scale = rig.floats(new float[] {1f / 448}, 1);
            PagedCache fp8 = rig.keep(
                    PagedCache.create(rig.device, desc(2).withCacheDType(DType.F8_E4M3), scale, scale));
            PagedCache int8 = rig.keep(PagedCache.create(rig.device, desc(2).withCacheDType(DType.I8)));
            PagedCache bf16 = rig.keep(PagedCache.create(rig.device, desc(2).withCacheDType(DType.BF16)));
            for (PagedCache cache : new PagedCache[] {fp8, int8, bf16}) {
                cache.append(rig.stream, 5, keys, values);
                float[] back = gathered(rig, cache, 5);
                for (int i = 0; i < rows.length; i++) {
                    // Half of a last place: 1/16 of the number, 1/254 of the row's largest, 1/256 of the number.
                    double allowed = cache == fp8 ? Math.abs(rows[i]) / 16 + 1e-5 : cache == int8 ? 1.001 / 254 : Math.abs(rows[i]) / 256;
                    assertEquals(rows[i], back[i], allowed);
                }
            }
        }
    }

    @ParameterizedTest
    @MethodSource("io.jindou.TestDevices#names")
    void refuses_what_it_cannot_do(String name) throws Exception {
        try (Rig rig = new Rig(name)) {
            PagedCache cache = rig.keep(PagedCache.create(rig.device, desc(2)));
            Tensor keys = rig.floats(new float[40 * WIDTH], 40, HEADS, DIM);
            OutOfPagesException full =
                    refused(OutOfPagesException.class, () -> cache.append(rig.stream, 1, keys, keys), "expected 3 free pages, got 2");
            assertEquals(Status.OUT_OF_MEMORY, full.status());
            Tensor wrong = rig.floats(new float[5 * DIM], 5, 1, DIM);
            refused(InvalidArgumentException.class, () -> cache.append(rig.stream, 1, wrong, wrong), "paged_append", "'keys'");
            assertEquals(2, cache.freePages());
            assertEquals(0, cache.length(1));
            refused(
                    InvalidArgumentException.class,
                    () -> cache.append(rig.stream, new long[] {4, 4}, new int[] {20, 20}, keys, keys),
                    "each user once, got 4 again at position 1");
            refused(
                    InvalidArgumentException.class,
                    () -> cache.append(rig.stream, new long[] {4, 5}, new int[] {40}, keys, keys),
                    "expected 2 (one a user), got 1");
            refused(
                    InvalidArgumentException.class,
                    () -> cache.append(rig.stream, new long[] {4, 5}, new int[] {-1, 41}, keys, keys),
                    "got -1 at position 0");
            Tensor five = rig.floats(new float[5 * WIDTH], 5, HEADS, DIM);
            refused(NullPointerException.class, () -> cache.append(rig.stream, 1, null, keys), "'keys'");
            refused(NullPointerException.class, () -> cache.append(rig.stream, 1, five, null), "'values'");
            refused(
                    InvalidArgumentException.class,
                    () -> PagedCache.create(rig.device, desc(2).withPageSize(20)),
                    "'page_size'",
                    "got 20");
            refused(InvalidArgumentException.class, () -> PagedCache.create(rig.device, desc(0)), "'numPages'");
            refused(
                    InvalidArgumentException.class,
                    () -> PagedCache.create(rig.device, desc(2).withCacheDType(DType.F8_E4M3)),
                    "scales");
            refused(InvalidArgumentException.class, () -> PagedCache.create(rig.device, desc(2), keys, keys), "F8_E4M3");
            cache.close();
            cache.close();
            assertTrue(cache.isClosed());
            refused(ClosedException.class, () -> cache.batch(rig.stream, 1), "closed");
        }
    }
}
