package io.jindou;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.File;
import java.io.IOException;
import java.net.URL;
import java.net.URLClassLoader;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.FileTime;
import java.nio.file.attribute.PosixFilePermissions;
import java.security.MessageDigest;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Where the native library comes from, in processes of their own: a JVM loads it once. */
class NativeLoadingTest {
    private static final String RESOURCES = "io/jindou/native/linux-" + arch() + "/";

    /** Refuses native access to us: JDK 22 and 23 by giving it to somebody else, later ones by saying so. */
    private static final String REFUSED = Runtime.version().feature() < 24
            ? "--enable-native-access=java.logging"
            : "--illegal-native-access=deny";

    @TempDir
    Path folder;

    /** What the processes run. */
    public static final class Probe {
        public static void main(String[] args) {
            try {
                System.out.println("version " + Jindou.version() + " from " + Jindou.libraryFile());
                try (Device device = Device.open("cpu")) {
                    System.out.println("opened " + device.name());
                }
                System.out.println(Device.available());
            } catch (NativeLibraryException e) {
                System.out.println("failed: " + e.getMessage());
                System.out.println(Device.available());
                System.exit(3);
            }
        }
    }

    @Test
    void a_failure_lists_everything_that_was_tried() throws Exception {
        SourceTree.Result result = probe(List.of("-Djindou.library.path=" + folder), jars());
        assertEquals(3, result.status(), result.output());
        for (String part : List.of(
                "jar: no resource " + RESOURCES + "libjindou.so",
                "-Djindou.library.path=" + folder + ": no file",
                "build: no build/native/lib/libjindou.so",
                "classifier linux-",
                "make native")) {
            assertTrue(result.output().contains(part), part + " in " + result.output());
        }
        assertTrue(result.output().contains("cpu: the native library was not found"), result.output());
    }

    @Test
    void a_library_that_cannot_be_loaded_is_named_with_the_linkers_words() throws Exception {
        Files.writeString(folder.resolve("libjindou.so"), "no library");
        SourceTree.Result result = probe(List.of("-Djindou.library.path=" + folder), jars());
        assertEquals(3, result.status(), result.output());
        assertTrue(result.output().contains("property: " + folder.resolve("libjindou.so") + ": "), result.output());
        assertTrue(result.output().contains("too short") || result.output().contains("invalid ELF"), result.output());
    }

    @Test
    void the_property_names_a_directory() throws Exception {
        Path library = libraries();
        SourceTree.Result result = probe(List.of("-Djindou.library.path=" + library), jars());
        assertEquals(0, result.status(), result.output());
        assertTrue(result.output().contains("from " + library.resolve("libjindou.so")), result.output());
    }

    @Test
    void the_jar_comes_before_the_property_and_is_extracted_once() throws Exception {
        Path cache = folder.resolve("cache");
        List<Process> processes = new ArrayList<>();
        for (int i = 0; i < 4; i++) {
            processes.add(SourceTree.start(folder, command(
                    List.of("-Djindou.cache.dir=" + cache, "-Djindou.library.path=" + folder.resolve("unused")), jarsWithNatives(true))));
        }
        for (Process process : processes) {
            SourceTree.Result result = SourceTree.finish(process);
            assertEquals(0, result.status(), result.output());
            assertTrue(result.output().contains("from " + cache), result.output());
        }
        List<Path> extracted = list(cache);
        assertEquals(1, extracted.size());
        assertEquals("rwx------", PosixFilePermissions.toString(Files.getPosixFilePermissions(extracted.getFirst())));
        List<String> files = list(extracted.getFirst()).stream().map(f -> f.getFileName().toString()).toList();
        assertTrue(files.contains("libjindou.so"), files.toString());
        assertTrue(files.stream().noneMatch(f -> f.endsWith(".tmp")), files.toString());

        FileTime before = Files.getLastModifiedTime(extracted.getFirst().resolve("libjindou.so"));
        assertEquals(0, probe(List.of("-Djindou.cache.dir=" + cache), jarsWithNatives(true)).status());
        assertEquals(before, Files.getLastModifiedTime(extracted.getFirst().resolve("libjindou.so")));

        // A file that somebody's cleaner has removed comes back.
        Files.delete(extracted.getFirst().resolve("libjindou.so"));
        assertEquals(0, probe(List.of("-Djindou.cache.dir=" + cache), jarsWithNatives(true)).status());
    }

    @Test
    void what_nobody_has_used_for_weeks_is_deleted() throws Exception {
        Path cache = folder.resolve("cache");
        Path old = Files.createDirectories(cache.resolve("0123456789abcdef"));
        Files.writeString(old.resolve("libjindou.so"), "an old version");
        Files.setLastModifiedTime(old, FileTime.from(Instant.now().minus(Duration.ofDays(30))));
        Path recent = Files.createDirectories(cache.resolve("fedcba9876543210"));
        Path foreign = Files.createDirectories(cache.resolve("something else"));
        Files.setLastModifiedTime(foreign, FileTime.from(Instant.now().minus(Duration.ofDays(30))));
        Files.setPosixFilePermissions(cache, PosixFilePermissions.fromString("rwx------"));
        SourceTree.Result result = probe(List.of("-Djindou.cache.dir=" + cache), jarsWithNatives(true));
        assertEquals(0, result.status(), result.output());
        assertFalse(Files.exists(old));
        assertTrue(Files.exists(recent));
        assertTrue(Files.exists(foreign));
    }

    @Test
    void a_damaged_jar_and_a_directory_of_others_are_refused() throws Exception {
        SourceTree.Result damaged = probe(List.of("-Djindou.cache.dir=" + folder.resolve("cache")), jarsWithNatives(false));
        assertEquals(3, damaged.status(), damaged.output());
        assertTrue(damaged.output().contains("is damaged: expected SHA-256 "), damaged.output());

        Path open = Files.createDirectory(folder.resolve("open"));
        Files.setPosixFilePermissions(open, PosixFilePermissions.fromString("rwxrwxrwx"));
        SourceTree.Result result = probe(List.of("-Djindou.cache.dir=" + open), jarsWithNatives(true));
        assertEquals(3, result.status(), result.output());
        assertTrue(result.output().contains("can be written by other users"), result.output());
    }

    @Test
    void a_second_class_loader_gets_a_copy() throws Exception {
        List<String> options = List.of("-Djindou.library.path=" + libraries(), "-Djindou.cache.dir=" + folder.resolve("cache"));
        List<String> command = new ArrayList<>(command(options, classes(TwoLoaders.class)));
        command.set(command.size() - 1, TwoLoaders.class.getName());
        command.add(jars());
        SourceTree.Result result = SourceTree.run(folder, command);
        assertEquals(0, result.status(), result.output());
        List<String> lines = result.output().lines().filter(l -> l.startsWith("version")).toList();
        assertEquals(2, lines.size(), result.output());
        assertNotEquals(lines.get(0), lines.get(1));
    }

    /** Runs the probe in two class loaders, as two web applications of one server would. */
    public static final class TwoLoaders {
        public static void main(String[] args) throws Exception {
            List<URL> urls = new ArrayList<>();
            for (String entry : args[0].split(File.pathSeparator)) {
                urls.add(Path.of(entry).toUri().toURL());
            }
            ClassLoader platform = ClassLoader.getPlatformClassLoader();
            for (int i = 0; i < 2; i++) {
                try (URLClassLoader loader = new URLClassLoader(urls.toArray(URL[]::new), platform)) {
                    loader.loadClass("io.jindou.NativeLoadingTest$Probe")
                            .getMethod("main", String[].class)
                            .invoke(null, (Object) new String[0]);
                }
            }
        }
    }

    @Test
    void without_native_access_the_message_names_the_flag() throws Exception {
        List<String> command = new ArrayList<>(command(List.of("-Djindou.library.path=" + libraries()), jars()));
        command.set(command.indexOf("--enable-native-access=ALL-UNNAMED"), REFUSED);
        SourceTree.Result result = SourceTree.run(folder, command);
        assertEquals(3, result.status(), result.output());
        assertTrue(result.output().contains("--enable-native-access=ALL-UNNAMED"), result.output());
    }

    @Test
    void the_modules_work_on_the_module_path() throws Exception {
        List<String> command = new ArrayList<>(List.of(
                java(),
                "--enable-native-access=io.jindou,io.jindou.bindings",
                "-Djindou.library.path=" + libraries(),
                "--module-path",
                location(Jindou.class) + File.pathSeparator + location(io.jindou.bindings.JindouAbi.class) + File.pathSeparator
                        + location(com.fasterxml.jackson.core.JsonFactory.class),
                "--add-modules",
                "io.jindou",
                "--patch-module",
                "io.jindou=" + location(NativeLoadingTest.class),
                "-m",
                "io.jindou/" + Probe.class.getName()));
        SourceTree.Result result = SourceTree.run(folder, command);
        assertEquals(0, result.status(), result.output());
        assertTrue(result.output().contains("opened cpu"), result.output());
        assertFalse(result.output().contains("WARNING"), result.output());

        command.set(1, REFUSED);
        result = SourceTree.run(folder, command);
        assertEquals(3, result.status(), result.output());
        assertTrue(result.output().contains("--enable-native-access=io.jindou,io.jindou.bindings"), result.output());
    }

    private SourceTree.Result probe(List<String> options, String classPath) throws IOException, InterruptedException {
        return SourceTree.run(folder, command(options, classPath));
    }

    private static List<String> command(List<String> options, String classPath) {
        List<String> command = new ArrayList<>(List.of(java(), "-Xshare:auto", "--enable-native-access=ALL-UNNAMED"));
        command.addAll(options);
        command.addAll(List.of("-cp", classPath, Probe.class.getName()));
        return command;
    }

    private static String java() {
        return Path.of(System.getProperty("java.home"), "bin", "java").toString();
    }

    /**
     * The classes under test away from the source tree, so that no build is found next to them.
     */
    private String jars() throws IOException {
        List<String> copies = new ArrayList<>();
        for (Class<?> type : List.of(Jindou.class, io.jindou.bindings.JindouAbi.class, Probe.class)) {
            copies.add(classes(type));
        }
        copies.add(location(com.fasterxml.jackson.core.JsonFactory.class).toString());
        return String.join(File.pathSeparator, copies);
    }

    private String classes(Class<?> type) throws IOException {
        Path source = location(type);
        Path copy = folder.resolve("classes-" + Integer.toHexString(source.hashCode()));
        if (Files.isRegularFile(source)) {
            return source.startsWith(SourceTree.root()) ? Files.copy(source, folder.resolve(source.getFileName()),
                    java.nio.file.StandardCopyOption.REPLACE_EXISTING).toString() : source.toString();
        }
        if (!Files.exists(copy)) {
            try (Stream<Path> tree = Files.walk(source)) {
                for (Path file : (Iterable<Path>) tree::iterator) {
                    Files.copy(file, copy.resolve(source.relativize(file).toString()));
                }
            }
        }
        return copy.toString();
    }

    /** The classes and a directory with natives, which to the class loader is what a jar is. */
    private String jarsWithNatives(boolean sound) throws Exception {
        Path natives = Files.createDirectories(folder.resolve(sound ? "natives" : "damaged").resolve(RESOURCES));
        for (Path library : list(libraries())) {
            String name = library.getFileName().toString();
            if (!name.matches("libjindou(_simt)?\\.so") || Files.exists(natives.resolve(name))) {
                continue;
            }
            Files.copy(library, natives.resolve(name));
            byte[] sum = MessageDigest.getInstance("SHA-256").digest(Files.readAllBytes(library));
            sum[0] ^= (byte) (sound ? 0 : 1);
            Files.writeString(natives.resolve(name + ".sha256"), HexFormat.of().formatHex(sum), StandardCharsets.US_ASCII);
        }
        return jars() + File.pathSeparator + folder.resolve(sound ? "natives" : "damaged");
    }

    /** Where the library lies that these tests themselves use. */
    private static Path libraries() {
        return Jindou.libraryFile().getParent();
    }

    private static Path location(Class<?> type) {
        try {
            return Path.of(type.getProtectionDomain().getCodeSource().getLocation().toURI());
        } catch (java.net.URISyntaxException e) {
            throw new AssertionError(e);
        }
    }

    private static List<Path> list(Path directory) throws IOException {
        try (Stream<Path> files = Files.list(directory)) {
            return files.sorted().toList();
        }
    }

    private static String arch() {
        String arch = System.getProperty("os.arch");
        return arch.equals("amd64") ? "x86_64" : arch;
    }
}
