package io.jindou.examples;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import io.jindou.DType;
import io.jindou.Device;
import io.jindou.HostTensor;
import io.jindou.Safetensors;
import io.jindou.SafetensorsException;
import io.jindou.Stream;
import io.jindou.Tensor;
import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;

/**
 * One parity case: a folder with {@code case.json}, {@code inputs.safetensors} and {@code expected.safetensors}. Everything is
 * checked on the way in; what is wrong is named by file and field.
 */
final class ParityCase implements AutoCloseable {
    /** Allowed difference: |got - expected| <= atol + rtol * |expected|. */
    record Tolerance(double atol, double rtol) {}

    /** A case that cannot be read or run; the message names file and field. */
    static final class BadCase extends IOException {
        private static final long serialVersionUID = 1L;

        BadCase(Path file, String field, String problem) {
            super(file + ": " + field + ": " + problem);
        }
    }

    private static final Set<DType> FLOATS = Set.of(DType.F32, DType.F16, DType.BF16);
    private static final Set<DType> PAGES = Set.of(DType.F32, DType.F16, DType.BF16, DType.F8_E4M3, DType.I8);
    private static final Set<DType> TABLES = Set.of(DType.F32, DType.F16, DType.BF16, DType.F8_E4M3);
    private static final Set<DType> INTEGERS = Set.of(DType.I32, DType.I64);
    private static final Set<DType> BYTES = Set.of(DType.I8, DType.U8, DType.BOOL);
    private static final Set<DType> RESULTS =
            Set.of(DType.F32, DType.F64, DType.F16, DType.BF16, DType.I32, DType.I64, DType.I8, DType.U8, DType.BOOL);

    /** Outputs that are integers, in whatever dtype a case expects them. */
    private static final Set<String> INTEGER_OUTPUTS = Set.of("codes", "indices", "counts", "bits", "rows");

    private final Path folder;
    private final Path file;
    private final String op;
    private final JsonNode params;
    private final DType dtype; // null: that of the inputs
    private final Map<String, Tolerance> tolerances = new LinkedHashMap<>();
    private final Safetensors inputs;
    private final Safetensors expected;
    private final Set<String> unusedInputs;
    private final Set<String> unusedParams = new TreeSet<>();
    private ParityStore store;

    private ParityCase(Path folder) throws IOException {
        this.folder = folder;
        file = folder.resolve("case.json");
        JsonNode json = json(file);
        op = text(json, "op");
        JsonNode given = json.path("params");
        if (!given.isMissingNode() && !given.isObject()) {
            throw new BadCase(file, "params", "expected an object, got " + given);
        }
        params = given;
        params.fieldNames().forEachRemaining(unusedParams::add);
        dtype = params.has("dtype") ? floatType(text(params, "dtype")) : null;
        unusedParams.remove("dtype");
        unusedParams.remove("seed");
        inputs = Safetensors.open(folder.resolve("inputs.safetensors"));
        try {
            unusedInputs = new TreeSet<>(inputs.names());
            expected = Safetensors.open(folder.resolve("expected.safetensors"));
        } catch (IOException | RuntimeException failed) {
            inputs.close();
            throw failed;
        }
        try {
            readTolerances(json.path("tolerance"));
        } catch (IOException | RuntimeException failed) {
            close();
            throw failed;
        }
    }

    static ParityCase open(Path folder) throws IOException {
        return new ParityCase(folder);
    }

    private static JsonNode json(Path file) throws IOException {
        if (!Files.isRegularFile(file)) {
            throw new BadCase(file, "file", "not found");
        }
        try {
            JsonNode json = new ObjectMapper().readTree(file.toFile());
            if (!json.isObject()) {
                throw new BadCase(file, "file", "expected a JSON object");
            }
            return json;
        } catch (JsonProcessingException malformed) {
            throw new BadCase(file, "file", "not JSON: " + malformed.getOriginalMessage());
        }
    }

    /** One for each output, or one for all. Integers may do without: they are compared exactly. */
    private void readTolerances(JsonNode json) throws IOException {
        boolean forAll = json.path("atol").isNumber() || json.path("rtol").isNumber();
        for (String output : expected.names()) {
            JsonNode one = forAll ? json : json.path(output);
            boolean exact = one.isMissingNode()
                    && (INTEGER_OUTPUTS.contains(output) || isInteger(expected.get(output).dtype()));
            double atol = exact ? 0 : one.path("atol").asDouble(one.has("rtol") ? 0 : Double.NaN);
            double rtol = exact ? 0 : one.path("rtol").asDouble(one.has("atol") ? 0 : Double.NaN);
            if (!(atol >= 0) || !(rtol >= 0)) {
                throw new BadCase(file, "tolerance." + output, "expected {\"atol\": a, \"rtol\": r}, got "
                        + (one.isMissingNode() ? "nothing" : one));
            }
            tolerances.put(output, new Tolerance(atol, rtol));
        }
        if (tolerances.isEmpty()) {
            throw new BadCase(folder.resolve("expected.safetensors"), "tensors", "expected at least one output, got none");
        }
    }

    /** Embedding tables come out of this store; null: out of the case. */
    void useStore(ParityStore value) {
        store = value;
    }

    /** An embedding table on the stream's device: the rows of the case, or those that the store has in their place. */
    Tensor tableOn(Stream stream, String name, boolean codes) throws IOException {
        HostTensor rows = table(name, codes);
        if (store != null && !ParityStore.holds(rows)) {
            System.err.println(name() + " " + name + ": not in the store, which holds rows of multiples of 4 bytes, got " + rows.shape()[1] + " "
                    + rows.dtype() + ": compared from the case itself");
        }
        return store == null || !ParityStore.holds(rows) ? Tensor.of(stream, rows) : store.rows(stream, name(), name, rows);
    }

    String name() {
        return folder.getFileName().toString();
    }

    String op() {
        return op;
    }

    /** Outputs to compare, with their tolerances. */
    Map<String, Tolerance> tolerances() {
        return tolerances;
    }

    private static boolean isInteger(DType dtype) {
        return BYTES.contains(dtype) || INTEGERS.contains(dtype);
    }

    /** The elements of a result, integers too. */
    static double[] doubles(HostTensor tensor) {
        return isInteger(tensor.dtype())
                ? Arrays.stream(tensor.toLongs()).asDoubleStream().toArray()
                : tensor.toDoubles();
    }

    /** The expected values of an output, which must have the shape of what was computed. */
    double[] expected(String output, HostTensor got) throws IOException {
        HostTensor tensor = expected.get(output);
        Path source = folder.resolve("expected.safetensors");
        if (!Arrays.equals(tensor.shape(), got.shape())) {
            throw new BadCase(source, output, "expected the shape " + Arrays.toString(got.shape()) + " that " + op
                    + " computes, got " + Arrays.toString(tensor.shape()));
        }
        if (!RESULTS.contains(tensor.dtype())) {
            throw new BadCase(source, output, "expected one of " + new TreeSet<>(RESULTS) + ", got " + tensor.dtype());
        }
        return doubles(tensor);
    }

    // -- inputs --------------------------------------------------------------------------------------------------------

    boolean hasInput(String name) {
        return inputs.names().contains(name);
    }

    /** A floating input of the given rank, converted to the case's dtype where it names one. */
    HostTensor floats(String name, int rank) throws IOException {
        HostTensor tensor = input(name, rank, FLOATS);
        return dtype == null || tensor.dtype() == dtype ? tensor : tensor.as(dtype);
    }

    /** The same, as F32 whatever the case's dtype: weights and scales. */
    HostTensor floats32(String name, int rank) throws IOException {
        return input(name, rank, FLOATS).as(DType.F32);
    }

    /** An I32 or I64 input of rank 1. */
    HostTensor integers(String name) throws IOException {
        return input(name, 1, INTEGERS);
    }

    /** The same, converted to {@code wanted}. */
    HostTensor integersAs(String name, DType wanted) throws IOException {
        return integersOfRank(name, 1, wanted);
    }

    /** A bias of all heads, rank 1, or of each, {@code [heads, n]} or {@code [n, heads]}, as F32 in the first order. */
    HostTensor bias(String name, int heads) throws IOException {
        HostTensor bias = floats32(name, inputs.names().contains(name) && inputs.get(name).shape().length == 2 ? 2 : 1);
        long[] shape = bias.shape();
        if (shape.length == 1 || shape[0] == heads || shape[1] != heads) {
            return bias;
        }
        float[] given = bias.toFloats();
        float[] turned = new float[given.length];
        int n = Math.toIntExact(shape[0]);
        for (int i = 0; i < given.length; i++) {
            turned[i % heads * n + i / heads] = given[i];
        }
        return HostTensor.of(turned, heads, n);
    }

    /** An input that a case may have but that does not matter here. */
    void ignoreInput(String name) {
        unusedInputs.remove(name);
    }

    /** A matrix for each head, rank 3, or for each sequence and head, rank 4, as F32. */
    HostTensor matrices(String name) throws IOException {
        return floats32(name, inputs.names().contains(name) && inputs.get(name).shape().length == 4 ? 4 : 3);
    }

    /** Pages of a cache: floats, converted to {@code wanted}, or codes. */
    HostTensor pages(String name, DType wanted) throws IOException {
        HostTensor tensor = input(name, 4, PAGES);
        boolean codes = tensor.dtype() == DType.F8_E4M3 || tensor.dtype() == DType.I8;
        return codes || tensor.dtype() == wanted ? tensor : tensor.as(wanted);
    }

    /** Queries of attention to pages: of the case's dtype; or F32 where they or the pages are. */
    HostTensor queriesOfPages() throws IOException {
        HostTensor queries = floats("queries", 3);
        boolean wider = dtype == null && hasInput("key_pages") && FLOATS.contains(inputs.get("key_pages").dtype())
                && inputs.get("key_pages").dtype() != queries.dtype();
        return wider ? queries.as(DType.F32) : queries;
    }

    /** Zeros behind the last dimension, to a multiple of {@code step}. */
    static HostTensor padded(HostTensor tensor, int step) {
        long[] shape = tensor.shape();
        int dim = Math.toIntExact(shape[shape.length - 1]), wide = Math.ceilDiv(dim, step) * step;
        if (dim == wide) {
            return tensor;
        }
        shape[shape.length - 1] = wide;
        float[] given = tensor.toFloats();
        float[] padded = new float[Math.toIntExact(Arrays.stream(shape).reduce(1, Math::multiplyExact))];
        for (int from = 0, to = 0; to < padded.length; from += dim, to += wide) {
            System.arraycopy(given, from, padded, to, dim);
        }
        return HostTensor.of(tensor.dtype(), padded, shape);
    }

    /** The first columns of a matrix of F32. */
    static HostTensor columns(HostTensor matrix, int count) {
        int rows = Math.toIntExact(matrix.shape()[0]), wide = Math.toIntExact(matrix.shape()[1]);
        if (wide == count) {
            return matrix;
        }
        float[] all = matrix.toFloats();
        float[] cut = new float[rows * count];
        for (int row = 0; row < rows; row++) {
            System.arraycopy(all, row * wide, cut, row * count, count);
        }
        return HostTensor.of(cut, rows, count);
    }

    /** An embedding table: floats of the case's dtype, or fp8; or rows of codes. */
    HostTensor table(String name, boolean codes) throws IOException {
        HostTensor tensor = input(name, 2, codes ? Set.of(DType.U8) : TABLES);
        boolean fixed = codes || tensor.dtype() == DType.F8_E4M3;
        return fixed || dtype == null || tensor.dtype() == dtype ? tensor : tensor.as(dtype);
    }

    /** An I32 or I64 input of rank 2, as I32 or I64. */
    HostTensor matrixOfIntegers(String name, DType wanted) throws IOException {
        return integersOfRank(name, 2, wanted);
    }

    /** An I32 or I64 input of the given rank, as I32 or I64. */
    HostTensor integersOfRank(String name, int rank, DType wanted) throws IOException {
        HostTensor tensor = input(name, rank, INTEGERS);
        if (tensor.dtype() == wanted) {
            return tensor;
        }
        long[] values = tensor.toLongs();
        if (wanted == DType.I64) {
            return new HostTensor(wanted, MemorySegment.ofArray(values), tensor.shape());
        }
        int[] narrow = new int[values.length];
        for (int i = 0; i < values.length; i++) {
            narrow[i] = (int) values[i];
            if (narrow[i] != values[i]) {
                throw new BadCase(folder.resolve("inputs.safetensors"), name, values[i] + " at " + i + " does not fit into I32");
            }
        }
        return new HostTensor(wanted, MemorySegment.ofArray(narrow), tensor.shape());
    }

    /** The rank of an input that is there; 0 where it is not. */
    int rankOf(String name) throws IOException {
        return hasInput(name) ? inputs.get(name).shape().length : 0;
    }

    /** Rows to be copied as they are: floats, converted to the case's dtype where it names one, or anything else. */
    HostTensor rows(String name, int rank) throws IOException {
        HostTensor tensor = input(name, rank, Set.of(DType.values()));
        return dtype == null || tensor.dtype() == dtype || !FLOATS.contains(tensor.dtype()) ? tensor : tensor.as(dtype);
    }

    /** The same numbers in another shape. */
    static HostTensor reshaped(HostTensor tensor, long... shape) {
        return new HostTensor(tensor.dtype(), tensor.data(), shape);
    }

    /** A BOOL input of rank 1 or 2, or one of U8: 0 is false. */
    HostTensor flags(String name) throws IOException {
        return input(name, rank(name, 2), Set.of(DType.BOOL, DType.U8));
    }

    /** Scales of pages, of rank 1 to 3, as F32. */
    HostTensor scales(String name) throws IOException {
        return floats32(name, rank(name, 3));
    }

    /** The rank of an input that may have any from 1 to {@code most}. */
    private int rank(String name, int most) throws IOException {
        return inputs.names().contains(name) ? Math.clamp(inputs.get(name).shape().length, 1, most) : 1;
    }

    private HostTensor input(String name, int rank, Set<DType> allowed) throws IOException {
        Path source = folder.resolve("inputs.safetensors");
        HostTensor tensor;
        try {
            tensor = inputs.get(name);
        } catch (SafetensorsException missing) {
            throw new BadCase(source, name, "missing; " + op + " needs it");
        }
        unusedInputs.remove(name);
        if (!allowed.contains(tensor.dtype())) {
            throw new BadCase(source, name, "expected one of " + new TreeSet<>(allowed) + ", got " + tensor.dtype());
        }
        if (rank == 1 && tensor.shape().length == 0) {
            return new HostTensor(tensor.dtype(), tensor.data(), 1); // a single number
        }
        if (tensor.shape().length != rank) {
            throw new BadCase(source, name, "expected rank " + rank + ", got shape " + Arrays.toString(tensor.shape()));
        }
        return tensor;
    }

    /** To be called when an operator has read all it knows: what is left would be ignored silently. */
    void checkAllUsed() throws BadCase {
        if (!unusedInputs.isEmpty()) {
            throw new BadCase(folder.resolve("inputs.safetensors"), unusedInputs.iterator().next(), op + " has no such input");
        }
        if (!unusedParams.isEmpty()) {
            throw new BadCase(file, "params." + unusedParams.iterator().next(), op + " has no such parameter");
        }
    }

    // -- parameters ----------------------------------------------------------------------------------------------------

    double number(String name, double otherwise) throws BadCase {
        JsonNode value = param(name);
        if (value.isMissingNode() || value.isNull()) {
            if (Double.isNaN(otherwise)) {
                throw new BadCase(file, "params." + name, "missing; " + op + " needs it");
            }
            return otherwise;
        }
        if (!value.isNumber()) {
            throw new BadCase(file, "params." + name, "expected a number, got " + value);
        }
        return value.asDouble();
    }

    long integer(String name, long otherwise) throws BadCase {
        JsonNode value = param(name);
        if (value.isMissingNode() || value.isNull()) {
            return otherwise;
        }
        if (!value.isNumber() || value.asDouble() != Math.rint(value.asDouble())) {
            throw new BadCase(file, "params." + name, "expected an integer, got " + value);
        }
        return value.asLong();
    }

    boolean flag(String name, boolean otherwise) throws BadCase {
        JsonNode value = param(name);
        if (value.isMissingNode() || value.isNull()) {
            return otherwise;
        }
        boolean number = value.isIntegralNumber() && (value.asLong() == 0 || value.asLong() == 1);
        if (!value.isBoolean() && !number) {
            throw new BadCase(file, "params." + name, "expected true or false, got " + value);
        }
        return value.asBoolean();
    }

    /** One of a few words. */
    String word(String name, String otherwise, Set<String> allowed) throws BadCase {
        JsonNode value = param(name);
        return value.isMissingNode() || value.isNull() ? otherwise : word(name, value, allowed);
    }

    /** A word for each of {@code count}, or one word for all. */
    String[] words(String name, String otherwise, Set<String> allowed, int count) throws BadCase {
        JsonNode value = param(name);
        String[] words = new String[count];
        if (!value.isArray()) {
            Arrays.fill(words, value.isMissingNode() || value.isNull() ? otherwise : word(name, value, allowed));
            return words;
        }
        if (value.size() != count) {
            throw new BadCase(file, "params." + name, "expected " + count + " values, one a table, got " + value.size());
        }
        for (int i = 0; i < count; i++) {
            words[i] = word(name, value.get(i), allowed);
        }
        return words;
    }

    /** An integer for each of {@code count}, or one for all; null is 0. */
    long[] integers(String name, int count) throws BadCase {
        JsonNode value = param(name);
        long[] integers = new long[count];
        if (value.isIntegralNumber() && value.canConvertToInt()) {
            Arrays.fill(integers, value.asLong());
            return integers;
        }
        if (!value.isArray() || value.size() != count) {
            throw new BadCase(file, "params." + name, "expected " + count + " integers, one a table, got "
                    + (value.isMissingNode() ? "nothing" : value));
        }
        for (int i = 0; i < count; i++) {
            if (value.get(i).isNull()) {
                continue; // 0: of a table that needs none
            }
            if (!value.get(i).canConvertToInt() || !value.get(i).isIntegralNumber()) {
                throw new BadCase(file, "params." + name, "expected integers, got " + value.get(i));
            }
            integers[i] = value.get(i).asLong();
        }
        return integers;
    }

    private String word(String name, JsonNode value, Set<String> allowed) throws BadCase {
        if (!value.isTextual() || !allowed.contains(value.asText())) {
            throw new BadCase(file, "params." + name, "expected one of " + new TreeSet<>(allowed) + ", got " + value);
        }
        return value.asText();
    }

    /** A parameter of a shape of its own, as it stands in the file; missing where there is none. */
    JsonNode json(String name) {
        return param(name);
    }

    /** Something wrong with a parameter. */
    BadCase wrongParam(String name, String problem) {
        return new BadCase(file, "params." + name, problem);
    }

    /** Something wrong with an input. */
    BadCase wrongInput(String name, String problem) {
        return new BadCase(folder.resolve("inputs.safetensors"), name, problem);
    }

    /** An integer that the case must have. */
    int requiredInteger(String name) throws BadCase {
        if (!hasParam(name)) {
            throw new BadCase(file, "params." + name, "missing; " + op + " needs it");
        }
        return intParam(name, 0);
    }

    /** An integer of 32 bits. */
    int intParam(String name, int otherwise) throws BadCase {
        long value = integer(name, otherwise);
        if (value != (int) value) {
            throw new BadCase(file, "params." + name, "expected an integer of 32 bits, got " + value);
        }
        return (int) value;
    }

    /** A number that the shapes tell too, like num_heads: a case may repeat it, and must then be right. */
    void repeats(String name, long value) throws BadCase {
        long given = integer(name, value);
        if (given != value) {
            throw new BadCase(file, "params." + name, "is " + given + ", but the inputs' shapes say " + value);
        }
    }

    boolean hasParam(String name) {
        unusedParams.remove(name);
        return params.hasNonNull(name);
    }

    private JsonNode param(String name) {
        unusedParams.remove(name);
        return params.path(name);
    }

    private String text(JsonNode json, String name) throws BadCase {
        JsonNode value = json.path(name);
        if (!value.isTextual()) {
            throw new BadCase(file, name, "expected a string, got " + (value.isMissingNode() ? "nothing" : value));
        }
        return value.asText();
    }

    private DType floatType(String name) throws BadCase {
        return switch (name.toLowerCase(Locale.ROOT)) {
            case "f32", "float32" -> DType.F32;
            case "f16", "float16" -> DType.F16;
            case "bf16", "bfloat16" -> DType.BF16;
            default -> throw new BadCase(file, "params.dtype", "expected f32, f16 or bf16, got \"" + name + "\"");
        };
    }

    /** An error of this case found later, by the operator itself. */
    BadCase refused(RuntimeException failure) {
        return new BadCase(folder, op, failure.getMessage());
    }

    /** Nothing is wrong with the case: the device has no kernel for it. */
    BadCase unsupported(RuntimeException failure, Device device) {
        return new BadCase(folder, op, "unsupported on " + device.name() + ": " + failure.getMessage());
    }

    BadCase unknownOp(Set<String> known) {
        return new BadCase(file, "op", "unknown operator \"" + op + "\"; known: " + known);
    }

    @Override
    public void close() {
        inputs.close();
        expected.close();
    }
}
