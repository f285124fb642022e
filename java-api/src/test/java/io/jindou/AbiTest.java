package io.jindou;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonToken;
import io.jindou.bindings.JindouAbi;
import java.io.IOException;
import java.lang.foreign.AddressLayout;
import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.GroupLayout;
import java.lang.foreign.MemoryLayout;
import java.lang.foreign.MemoryLayout.PathElement;
import java.lang.foreign.MemorySegment;
import java.lang.reflect.Method;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** The C compiler and the bindings agree on every struct, constant and function of the headers. */
class AbiTest {
    private static Map<String, Object> abi;
    private static String headers;

    @BeforeAll
    static void compileAndRun(@TempDir Path folder) throws Exception {
        Path root = SourceTree.root();
        Path program = folder.resolve("abi_dump");
        SourceTree.Result compiled = SourceTree.run(root, List.of(
                "cc", "-std=c11", "-I", "native/include", "native/tests/abi_dump.c", "-o", program.toString()));
        assertEquals(0, compiled.status(), compiled.output());
        SourceTree.Result dumped = SourceTree.run(root, List.of(program.toString()));
        assertEquals(0, dumped.status());
        try (JsonParser parser = new JsonFactory().createParser(dumped.output())) {
            parser.nextToken();
            abi = object(parser);
        }
        StringBuilder text = new StringBuilder();
        try (var files = Files.list(root.resolve("native/include/jindou"))) {
            for (Path header : (Iterable<Path>) files::iterator) {
                text.append(Files.readString(header).replaceAll("(?s)/\\*.*?\\*/", " "));
            }
        }
        headers = text.toString();
    }

    @Test
    void every_struct_has_the_size_and_offsets_that_c_gives_it() throws Exception {
        Map<String, Object> structs = map(abi, "structs");
        assertEquals(named("typedef struct (jd_\\w+) \\{"), structs.keySet(), "abi_dump names every struct of the headers");
        for (String name : structs.keySet()) {
            Map<String, Object> struct = map(structs, name);
            Class<?> bound = Class.forName("io.jindou.bindings." + name);
            GroupLayout layout = (GroupLayout) bound.getMethod("layout").invoke(null);
            assertEquals(struct.get("size"), layout.byteSize(), name);
            assertEquals(struct.get("align"), layout.byteAlignment(), name);
            Map<String, Object> fields = map(struct, "fields");
            Set<String> members = layout.memberLayouts().stream()
                    .flatMap(m -> m.name().stream())
                    .collect(Collectors.toCollection(TreeSet::new));
            assertEquals(members, new TreeSet<>(fields.keySet()), name);
            for (String field : fields.keySet()) {
                PathElement path = PathElement.groupElement(field);
                assertEquals(map(fields, field).get("offset"), layout.byteOffset(path), name + "." + field);
                assertEquals(map(fields, field).get("size"), layout.select(path).byteSize(), name + "." + field);
                assertEquals(
                        map(fields, field).get("offset"), bound.getMethod(field + "$offset").invoke(null), name + "." + field);
            }
        }
    }

    @Test
    void every_constant_has_the_value_that_c_gives_it() throws Exception {
        Map<String, Object> constants = map(abi, "constants");
        Set<String> expected = named("\\b(JD_[A-Z0-9_]+)\\s*=");
        expected.addAll(named("#define (JD_[A-Z0-9_]+) \\d"));
        assertEquals(expected, new TreeSet<>(constants.keySet()), "abi_dump names every constant of the headers");
        for (String name : constants.keySet()) {
            Object value = JindouAbi.class.getMethod(name).invoke(null);
            assertEquals(constants.get(name), ((Number) value).longValue(), name);
        }
    }

    /** The enums hold the numbers themselves, so that they can be used where the library cannot be loaded. */
    @Test
    void enums_have_the_numbers_of_the_headers() {
        Map<String, Object> constants = map(abi, "constants");
        Arrays.stream(Status.values()).forEach(s -> assertEquals(constants.get("JD_" + s), (long) s.code()));
        Arrays.stream(DType.values()).forEach(d -> assertEquals(constants.get("JD_" + d), (long) d.code()));
        Arrays.stream(Bounds.values()).forEach(b -> assertEquals(constants.get("JD_BOUNDS_" + b), (long) b.code));
        Arrays.stream(Pooling.values()).forEach(p -> assertEquals(constants.get("JD_POOL_" + p), (long) p.code));
        Arrays.stream(MeanDenominator.values()).forEach(m -> assertEquals(constants.get("JD_MEAN_" + m), (long) m.code));
        Arrays.stream(Activation.values()).forEach(a -> assertEquals(constants.get("JD_LINEAR_" + a), (long) a.code));
        assertEquals(constants.get("JD_INTERNAL"), (long) Status.values().length, "every status has its constant");
    }

    @Test
    void every_function_is_bound_with_its_types_and_found_in_the_library() throws Exception {
        assertFalse(Jindou.version().isEmpty());
        Map<String, Object> functions = map(abi, "functions");
        assertEquals(named("\\b(jd_\\w+)\\("), new TreeSet<>(functions.keySet()), "abi_dump names every function of the headers");
        for (String name : functions.keySet()) {
            Map<String, Object> function = map(functions, name);
            FunctionDescriptor bound = (FunctionDescriptor) JindouAbi.class.getMethod(name + "$descriptor").invoke(null);
            assertEquals(width((String) function.get("returns")), bound.returnLayout().map(AbiTest::width).orElse("void"), name);
            List<String> expected =
                    ((List<?>) function.get("parameters")).stream().map(t -> width((String) t)).toList();
            assertEquals(expected, bound.argumentLayouts().stream().map(AbiTest::width).toList(), name);
            MemorySegment address = (MemorySegment) JindouAbi.class.getMethod(name + "$address").invoke(null);
            assertTrue(address.address() != 0, name);
        }
    }

    @Test
    void nothing_is_bound_that_the_headers_lack() {
        Set<String> bound = Arrays.stream(JindouAbi.class.getDeclaredMethods())
                .map(Method::getName)
                .filter(n -> n.startsWith("jd_") && n.endsWith("$descriptor"))
                .map(n -> n.substring(0, n.indexOf('$')))
                .collect(Collectors.toCollection(TreeSet::new));
        assertEquals(new TreeSet<>(map(abi, "functions").keySet()), bound);
    }

    /** Java has no unsigned types: only the width and kind of a C type can be compared. */
    private static String width(String type) {
        return switch (type) {
            case "u8", "i8" -> "8";
            case "u32", "i32" -> "32";
            case "u64", "i64" -> "64";
            default -> type;
        };
    }

    private static String width(MemoryLayout layout) {
        if (layout instanceof AddressLayout) {
            return "pointer";
        }
        Class<?> carrier = ((java.lang.foreign.ValueLayout) layout).carrier();
        return carrier == float.class ? "f32" : carrier == double.class ? "f64" : String.valueOf(8 * layout.byteSize());
    }

    private static Set<String> named(String pattern) {
        Set<String> names = new TreeSet<>();
        Matcher matcher = Pattern.compile(pattern).matcher(headers);
        while (matcher.find()) {
            names.add(matcher.group(1));
        }
        return names;
    }

    @SuppressWarnings("unchecked")
    private static Map<String, Object> map(Map<String, Object> parent, String key) {
        return (Map<String, Object>) parent.get(key);
    }

    private static Map<String, Object> object(JsonParser parser) throws IOException {
        Map<String, Object> object = new LinkedHashMap<>();
        while (parser.nextToken() == JsonToken.FIELD_NAME) {
            String name = parser.currentName();
            parser.nextToken();
            object.put(name, value(parser));
        }
        return object;
    }

    private static Object value(JsonParser parser) throws IOException {
        return switch (parser.currentToken()) {
            case START_OBJECT -> object(parser);
            case START_ARRAY -> {
                List<Object> list = new ArrayList<>();
                while (parser.nextToken() != JsonToken.END_ARRAY) {
                    list.add(value(parser));
                }
                yield list;
            }
            case VALUE_NUMBER_INT -> parser.getLongValue();
            default -> parser.getText();
        };
    }
}
