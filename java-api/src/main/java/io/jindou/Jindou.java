package io.jindou;

import io.jindou.bindings.JindouAbi;
import java.nio.file.Path;

/** The native library as a whole. */
public final class Jindou {
    private Jindou() {}

    /**
     * The version of the native library.
     *
     * @return {@code "major.minor.patch"}
     * @throws NativeLibraryException when it cannot be loaded
     */
    public static String version() {
        Natives.require();
        return JindouAbi.jd_version().getString(0);
    }

    /**
     * The file that the native library was loaded from.
     *
     * @return the path of {@code libjindou.so}
     * @throws NativeLibraryException when it cannot be loaded
     */
    public static Path libraryFile() {
        return Natives.file();
    }

    /**
     * How many devices, streams, events, tensors, plans and graphs are alive in this process. For leak tests.
     *
     * @return their number
     * @throws NativeLibraryException when the library cannot be loaded
     */
    public static long liveObjects() {
        Natives.require();
        return JindouAbi.jd_live_objects();
    }
}
