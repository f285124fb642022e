/**
 * Jindou: inference kernels for large recommendation models, used from the JVM.
 *
 * <p>Native code is called through the Foreign Function and Memory API: start Java with
 * {@code --enable-native-access=io.jindou,io.jindou.bindings} on the module path, or
 * {@code --enable-native-access=ALL-UNNAMED} on the class path.
 */
module io.jindou {
    requires io.jindou.bindings;
    requires com.fasterxml.jackson.core;

    exports io.jindou;
}
