package io.jindou;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.nio.file.attribute.GroupPrincipal;
import java.nio.file.attribute.PosixFileAttributeView;
import java.nio.file.attribute.PosixFileAttributes;
import java.nio.file.attribute.PosixFilePermission;
import java.nio.file.attribute.PosixFilePermissions;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.Set;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class SafetensorsTest {
    @TempDir
    Path folder;

    @Test
    void every_dtype_comes_back_as_written() throws IOException {
        Map<String, HostTensor> written = new LinkedHashMap<>();
        Random random = new Random(9);
        for (DType dtype : DType.values()) {
            byte[] bytes = new byte[dtype.size() * 15];
            random.nextBytes(bytes);
            written.put(dtype.name(), new HostTensor(dtype, MemorySegment.ofArray(bytes), 3, 5));
        }
        written.put("floats", HostTensor.of(new float[] {1, 2, 3}));
        written.put("scalar", new HostTensor(DType.I64, MemorySegment.ofArray(new long[] {42})));
        written.put("nothing", HostTensor.of(new float[0], 0, 7));
        written.put("\"quoted\" \u7b4b\u6597\n", HostTensor.of(new int[] {1}, 1));
        Path file = folder.resolve("all.safetensors");
        Safetensors.write(file, written, Map.of("a", "b \u7b4b"));
        try (Safetensors read = Safetensors.open(file)) {
            assertEquals(List.copyOf(written.keySet()), List.copyOf(read.names()));
            assertEquals(Map.of("a", "b \u7b4b"), read.metadata());
            for (String name : written.keySet()) {
                assertEquals(written.get(name).dtype(), read.get(name).dtype());
                assertArrayEquals(written.get(name).shape(), read.get(name).shape());
                assertEquals(-1, MemorySegment.ofArray(written.get(name).data().toArray(ValueLayout.JAVA_BYTE))
                        .mismatch(read.get(name).data()), name);
            }
            assertArrayEquals(new long[0], read.get("scalar").shape());
            assertTrue(read.get("F64").data().isNative(), "mapped, not copied");
            assertTrue(read.get("F64").data().isReadOnly());
            assertEquals(0, read.get("F32").data().address() % 4);
            SafetensorsException e = assertThrows(SafetensorsException.class, () -> read.get("absent"));
            assertMessage(e, file, "absent", "no such tensor", "floats");
        }
        assertEquals(List.of(file), Files.list(folder).toList(), "no temporary file is left");
    }

    @Test
    void a_mapped_tensor_is_used_in_place() throws Exception {
        Path file = folder.resolve("table.safetensors");
        Safetensors.write(file, Map.of("table", HostTensor.of(new float[] {1, 2, 3, 4, 5, 6, 7, 8}, 2, 4)));
        try (Safetensors model = Safetensors.open(file);
                Rig rig = new Rig("cpu")) {
            Tensor table = rig.keep(Tensor.wrap(rig.device, model.get("table").data(), DType.F32, 2, 4));
            assertEquals(0, rig.device.memory().usedBytes());
            EmbeddingBag bag =
                    rig.keep(EmbeddingBag.plan(rig.device, EmbeddingBagDesc.of(table, Pooling.SUM, 1, 4)));
            Tensor out = rig.poisoned(DType.F32, 1, 4);
            bag.run(rig.stream, rig.bags(new long[] {0, 1}), out);
            assertArrayEquals(new float[] {6, 8, 10, 12}, out.readFloats(rig.stream));
        }
    }

    @Test
    void use_after_close_is_an_exception() throws IOException {
        Path file = folder.resolve("closed.safetensors");
        Safetensors.write(file, Map.of("x", HostTensor.of(new float[] {1})));
        Safetensors read = Safetensors.open(file);
        HostTensor x = read.get("x");
        read.close();
        read.close();
        assertThrows(IllegalStateException.class, x::toFloats);
        try (Device device = Device.open("cpu");
                Stream stream = Stream.create(device)) {
            assertThrows(IllegalStateException.class, () -> Tensor.of(stream, x));
            assertEquals(0, device.memory().usedBytes());
        }
    }

    @Test
    void a_failed_write_leaves_the_old_file() throws IOException {
        Path file = folder.resolve("old.safetensors");
        Safetensors.write(file, Map.of("x", HostTensor.of(new float[] {1})));
        byte[] before = Files.readAllBytes(file);
        Map<String, HostTensor> bad = new LinkedHashMap<>();
        bad.put("x", HostTensor.of(new float[] {2}));
        bad.put("y", null);
        assertThrows(NullPointerException.class, () -> Safetensors.write(file, bad));
        assertThrows(InvalidArgumentException.class,
                () -> Safetensors.write(file, Map.of("__metadata__", HostTensor.of(new float[] {2}))));
        assertArrayEquals(before, Files.readAllBytes(file));
        assertEquals(List.of(file), Files.list(folder).toList());
        assertThrows(NoSuchFileException.class, () -> Safetensors.write(folder.resolve("no/such/x"), Map.of()));
    }

    /** As if it were written in place: by the umask, or what the file had that is replaced. */
    @Test
    void who_may_read_a_file() throws IOException {
        Map<String, HostTensor> x = Map.of("x", HostTensor.of(new float[] {1}));
        Path file = folder.resolve("shared.safetensors");
        Set<PosixFilePermission> usual = Files.getPosixFilePermissions(Files.createFile(folder.resolve("other")));
        Safetensors.write(file, x);
        assertEquals(usual, Files.getPosixFilePermissions(file));
        for (String permissions : List.of("rw-------", "rw-r-----", "rw-rw-rw-", "r--r--r--", "rwxr-x--x")) {
            Files.setPosixFilePermissions(file, PosixFilePermissions.fromString(permissions));
            GroupPrincipal group = giveAway(file);
            Safetensors.write(file, x);
            PosixFileAttributes now = Files.readAttributes(file, PosixFileAttributes.class);
            assertEquals(permissions, PosixFilePermissions.toString(now.permissions()));
            assertEquals(group, now.group());
        }
        Path link = Files.createSymbolicLink(folder.resolve("link"), file);
        Safetensors.write(link, x);
        assertFalse(Files.isSymbolicLink(link));
        assertEquals(usual, Files.getPosixFilePermissions(link));
        assertEquals("rw---x--x", PosixFilePermissions.toString(
                Replacement.beforeAnotherGroup(PosixFilePermissions.fromString("rw-rwx--x"))));
    }

    /** To another group, if this process may; gives the one that the file has. */
    private static GroupPrincipal giveAway(Path file) throws IOException {
        PosixFileAttributeView view = Files.getFileAttributeView(file, PosixFileAttributeView.class);
        try {
            view.setGroup(file.getFileSystem().getUserPrincipalLookupService().lookupPrincipalByGroupName("daemon"));
        } catch (IOException e) {
            // Then it keeps the one that it has: no less is asked of the writer.
        }
        return view.readAttributes().group();
    }

    @Test
    void a_file_that_is_not_there() {
        assertThrows(NoSuchFileException.class, () -> Safetensors.open(folder.resolve("absent")));
    }

    @Test
    void a_file_cut_anywhere_is_refused() throws IOException {
        Path whole = folder.resolve("whole.safetensors");
        Safetensors.write(whole, Map.of("x", HostTensor.of(new float[100])));
        byte[] bytes = Files.readAllBytes(whole);
        for (int length = 0; length < bytes.length; length++) {
            Path cut = folder.resolve("cut.safetensors");
            Files.write(cut, java.util.Arrays.copyOf(bytes, length));
            SafetensorsException e = assertThrows(SafetensorsException.class, () -> Safetensors.open(cut).close());
            assertMessage(e, cut, "expected");
        }
    }

    /** Any one byte changed: read as something consistent, or refused by name; never a crash, never a read outside the file. */
    @Test
    void a_damaged_header_never_crashes() throws IOException {
        Path whole = folder.resolve("whole.safetensors");
        Safetensors.write(whole, Map.of("x", HostTensor.of(new float[9], 3, 3), "y", HostTensor.of(new long[2])));
        byte[] bytes = Files.readAllBytes(whole);
        int header = 8 + (int) ByteBuffer.wrap(bytes).order(ByteOrder.LITTLE_ENDIAN).getLong();
        Random random = new Random(4);
        Path damaged = folder.resolve("damaged.safetensors");
        for (int i = 0; i < header; i++) {
            for (int round = 0; round < 6; round++) {
                byte[] copy = bytes.clone();
                copy[i] = (byte) (round < 4 ? random.nextInt(256) : "09]}\"[{,:".charAt(random.nextInt(9)));
                Files.write(damaged, copy);
                try (Safetensors read = Safetensors.open(damaged)) {
                    long total = read.tensors().values().stream().mapToLong(t -> t.data().byteSize()).sum();
                    assertTrue(total <= bytes.length);
                } catch (SafetensorsException e) {
                    assertMessage(e, damaged);
                }
            }
        }
    }

    @Test
    void headers_that_lie_are_refused() throws IOException {
        refused("header size", size(-1), "18446744073709551615");
        refused("header size", size(0), "got 0");
        refused("header size", size(200_000_000), "got 200000000");
        refused("header size", size(5000), "truncated");
        refused("header", json("not json", 0), "expected JSON");
        refused("header", json("[]", 0), "an object", "an array");
        refused("header", json("{\"x\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}", 4), "expected JSON");
        refused("header", json("{} {}", 0), "nothing after");
        refused("header", json("{\"a\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]},"
                + "\"a\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]}}", 0), "Duplicate field 'a'");
        byte[] notUtf8 = json("{\"?\":1}", 0);
        notUtf8[10] = (byte) 0xff;
        refused("header", notUtf8, "UTF-8");
        refused("x", json("{\"x\":[]}", 0), "an object", "an array");
        refused("x.dtype", entry("\"dtype\":\"F31\",\"shape\":[1],\"data_offsets\":[0,4]", 4), "F32", "got \"F31\"");
        refused("x.dtype", entry("\"dtype\":32,\"shape\":[1],\"data_offsets\":[0,4]", 4), "a string", "a whole number");
        refused("x.dtype", entry("\"shape\":[1],\"data_offsets\":[0,4]", 4), "missing");
        refused("x.shape", entry("\"dtype\":\"F32\",\"data_offsets\":[0,4]", 4), "missing");
        refused("x.shape", entry("\"dtype\":\"F32\",\"shape\":[-1],\"data_offsets\":[0,4]", 4), "got -1");
        refused("x.shape", entry("\"dtype\":\"F32\",\"shape\":[1.5],\"data_offsets\":[0,4]", 4), "a fraction");
        refused("x.shape", entry("\"dtype\":\"F32\",\"shape\":\"1\",\"data_offsets\":[0,4]", 4), "an array", "a string");
        refused("x.shape", entry("\"dtype\":\"F32\",\"shape\":[99999999999999999999],\"data_offsets\":[0,4]", 4), "2^63");
        refused("x.shape",
                entry("\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,4]", 4), "2^63");
        refused("x.data_offsets", entry("\"dtype\":\"F32\",\"shape\":[1]", 4), "missing");
        refused("x.data_offsets", entry("\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4]", 4), "[begin, end]", "[4]");
        refused("x.data_offsets", entry("\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,0]", 4), "begin <= end");
        refused("x.data_offsets", entry("\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,4]", 4), "expected 8 bytes", "got 4");
        refused("x.data_offsets", entry("\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]", 4), "at most 4", "truncated");
        refused("x.data_offsets", entry("\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]", 8), "hole");
        refused("x.data_offsets", entry("\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[9223372036854775804,9223372036854775807]", 8),
                "expected 4 bytes");
        refused("data", entry("\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]", 9), "expected 4 bytes", "got 9");
        refused("x.color", entry("\"dtype\":\"F32\",\"color\":1,\"shape\":[1],\"data_offsets\":[0,4]", 4), "dtype, shape and data_offsets");
        refused("b.data_offsets", json("{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
                + "\"b\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[4,12]}}", 12), "overlap");
        refused("__metadata__.a", json("{\"__metadata__\":{\"a\":1}}", 0), "a string");
        refused("__metadata__", json("{\"__metadata__\":[]}", 0), "an object");
    }

    private byte[] size(long headerBytes) {
        return ByteBuffer.allocate(1000).order(ByteOrder.LITTLE_ENDIAN).putLong(0, headerBytes).array();
    }

    private byte[] entry(String fields, int dataBytes) {
        return json("{\"x\":{" + fields + "}}", dataBytes);
    }

    private byte[] json(String header, int dataBytes) {
        byte[] text = header.getBytes(StandardCharsets.UTF_8);
        return ByteBuffer.allocate(8 + text.length + dataBytes)
                .order(ByteOrder.LITTLE_ENDIAN)
                .putLong(text.length)
                .put(text)
                .array();
    }

    private void refused(String field, byte[] content, String... fragments) throws IOException {
        Path file = folder.resolve("bad.safetensors");
        Files.write(file, content);
        SafetensorsException e = assertThrows(SafetensorsException.class, () -> Safetensors.open(file).close());
        assertEquals(field, e.field(), e.getMessage());
        assertEquals(file, e.file());
        List<String> all = new ArrayList<>(List.of(fragments));
        all.add(field);
        assertMessage(e, file, all.toArray(String[]::new));
    }

    private static void assertMessage(SafetensorsException e, Path file, String... fragments) {
        assertTrue(e.getMessage().startsWith(file + ": "), e.getMessage());
        for (String fragment : fragments) {
            assertTrue(e.getMessage().contains(fragment), () -> "expected \"" + fragment + "\" in \"" + e.getMessage() + "\"");
        }
    }
}
