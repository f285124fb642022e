/**
 * The C ABI of Jindou as jextract binds it: one static method a function, one class a struct. {@code io.jindou} is built on
 * it; programs normally use that.
 */
module io.jindou.bindings {
    exports io.jindou.bindings;
}
