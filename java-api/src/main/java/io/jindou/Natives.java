package io.jindou;

import io.jindou.internal.NativeLibrary;
import java.nio.file.Path;

/** Loads the native library once, on the first call that needs it. */
final class Natives {
    private static final NativeLibrary.Result RESULT = NativeLibrary.load();

    private Natives() {}

    static void require() {
        if (RESULT.failure() != null) {
            throw new NativeLibraryException(RESULT.failure());
        }
    }

    /** Why the library is absent, or null. */
    static String failure() {
        return RESULT.failure();
    }

    static Path file() {
        require();
        return RESULT.file();
    }
}
