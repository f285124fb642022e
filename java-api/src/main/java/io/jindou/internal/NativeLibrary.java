package io.jindou.internal;

import io.jindou.bindings.JindouAbi;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.lang.foreign.MemorySegment;
import java.net.URISyntaxException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.CodeSource;
import java.util.ArrayList;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Locale;
import java.util.Set;

/**
 * Finds and loads {@code libjindou.so}: in a jar, in the directory of {@code -Djindou.library.path}, next to the build, in that order.
 *
 * <p>It is loaded by {@link System#load}, which reports the dynamic linker's own words, and found again by the bindings through
 * their class loader; so this class and the bindings must be defined by the same one, as they are on any class or module path.
 * Plug-ins (CUDA, emulator) are loaded by the library itself from the directory it lies in.
 */
public final class NativeLibrary {
    /** The file that Java binds to. */
    static final String MAIN_FILE = "libjindou.so";

    private static final String PATH_PROPERTY = "jindou.library.path";

    private NativeLibrary() {}

    /**
     * How loading ended.
     *
     * @param file the library, or null
     * @param failure what was tried, or null
     */
    public record Result(Path file, String failure) {}

    /** Loads the library. Never throws; to be called once. */
    public static Result load() {
        List<String> tried = new ArrayList<>();
        try {
            for (Source source : Source.values()) {
                Path file = source.find(tried);
                if (file == null) {
                    continue;
                }
                Path loaded = tryLoad(source, file, tried);
                if (loaded != null) {
                    return checked(loaded);
                }
            }
        } catch (IllegalCallerException e) {
            return new Result(null, accessDenied(e));
        }
        return new Result(null, "the native library was not found or could not be loaded; tried, in this order:\n  - "
                + String.join("\n  - ", tried)
                + "\nAdd the artifact io.jindou:jindou with the classifier " + platform()
                + ", or build the library (make native) and give its directory as -D" + PATH_PROPERTY + ".");
    }

    /** Where the library may be. Each finds a file that exists, or says why there is none. */
    private enum Source {
        JAR {
            @Override
            Path find(List<String> tried) {
                String folder = "io/jindou/native/" + platform() + "/";
                try {
                    Path directory = NativeJar.extract(NativeLibrary.class.getClassLoader(), folder);
                    if (directory != null) {
                        return directory.resolve(MAIN_FILE);
                    }
                    tried.add("jar: no resource " + folder + MAIN_FILE + " (artifact io.jindou:jindou, classifier " + platform() + ")");
                } catch (IOException | UncheckedIOException e) {
                    tried.add("jar: " + folder + MAIN_FILE + " could not be extracted: " + e);
                }
                return null;
            }
        },
        PROPERTY {
            @Override
            Path find(List<String> tried) {
                String value = System.getProperty(PATH_PROPERTY);
                if (value == null || value.isEmpty()) {
                    tried.add("-D" + PATH_PROPERTY + ": not set");
                    return null;
                }
                Path file = Path.of(value).toAbsolutePath().resolve(MAIN_FILE);
                if (Files.isRegularFile(file)) {
                    return file;
                }
                tried.add("-D" + PATH_PROPERTY + "=" + value + ": no file " + file);
                return null;
            }
        },
        BUILD {
            @Override
            Path find(List<String> tried) {
                Set<Path> starts = new LinkedHashSet<>();
                Path code = codeLocation();
                if (code != null) {
                    starts.add(code);
                }
                starts.add(Path.of("").toAbsolutePath());
                for (Path start : starts) {
                    for (Path folder = start; folder != null; folder = folder.getParent()) {
                        Path file = folder.resolve("build/native/lib").resolve(MAIN_FILE);
                        // Only in a source tree of ours: nobody should load a library because of where a program was started.
                        if (Files.isRegularFile(folder.resolve("native/include/jindou/jindou.h")) && Files.isRegularFile(file)) {
                            return file;
                        }
                    }
                }
                tried.add("build: no build/native/lib/" + MAIN_FILE + " of a source tree above " + starts);
                return null;
            }
        };

        abstract Path find(List<String> tried);
    }

    private static Path tryLoad(Source source, Path file, List<String> tried) {
        String what = source.name().toLowerCase(Locale.ROOT) + ": " + file + ": ";
        try {
            System.load(file.toString());
            return file;
        } catch (UnsatisfiedLinkError e) {
            if (!String.valueOf(e.getMessage()).contains("already loaded in another classloader")) {
                tried.add(what + e.getMessage());
                return null;
            }
        }
        // A second class loader of this process (a web application, or one redeployed) gets a copy of its own.
        try {
            Path copy = NativeCache.privateCopy(file.getParent()).resolve(MAIN_FILE);
            System.load(copy.toString());
            return copy;
        } catch (IOException | UncheckedIOException | UnsatisfiedLinkError e) {
            tried.add(what + "already loaded by another class loader, and a copy could not be: " + e.getMessage());
            return null;
        }
    }

    /** The library is of the bindings' version, and may be called. */
    private static Result checked(Path file) {
        String expected;
        String actual;
        try {
            expected = JindouAbi.JD_VERSION_MAJOR() + "." + JindouAbi.JD_VERSION_MINOR() + "." + JindouAbi.JD_VERSION_PATCH();
            MemorySegment version = JindouAbi.jd_version();
            actual = version.getString(0);
        } catch (LinkageError e) {
            // Class initialisation of the bindings wraps what went wrong.
            if (e.getCause() instanceof IllegalCallerException denied) {
                return new Result(null, accessDenied(denied));
            }
            return new Result(null, file + " is not the library of these bindings: " + e
                    + (e.getCause() == null ? "" : " (" + e.getCause().getMessage() + ")"));
        }
        if (!actual.equals(expected)) {
            return new Result(null, file + " is version " + actual + ", expected " + expected
                    + ": the jars and the native library are from different builds");
        }
        return new Result(file, null);
    }

    private static String accessDenied(IllegalCallerException e) {
        String modules = NativeLibrary.class.getModule().isNamed() ? "io.jindou,io.jindou.bindings" : "ALL-UNNAMED";
        return "Java refuses native access: start it with --enable-native-access=" + modules + " (" + e.getMessage() + ")";
    }

    private static Path codeLocation() {
        CodeSource source = NativeLibrary.class.getProtectionDomain().getCodeSource();
        if (source == null || source.getLocation() == null || !"file".equals(source.getLocation().getProtocol())) {
            return null;
        }
        try {
            return Path.of(source.getLocation().toURI()).toAbsolutePath();
        } catch (URISyntaxException | IllegalArgumentException e) {
            return null;
        }
    }

    /** The classifier of this machine, for example {@code linux-x86_64}. */
    static String platform() {
        String os = System.getProperty("os.name").toLowerCase(Locale.ROOT).replace(' ', '_');
        String arch = System.getProperty("os.arch");
        return os + "-" + (arch.equals("amd64") ? "x86_64" : arch);
    }
}
