package io.jindou.examples;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.jindou.DType;
import io.jindou.Device;
import io.jindou.HostTensor;
import io.jindou.Safetensors;
import io.jindou.Stream;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** The checked-in cases on every device, and what the runner says of broken ones. */
class ParityTest {
    private static final Path CASES = Path.of("src/test/parity");

    @TempDir
    private Path folder;

    private final Map<String, HostTensor> inputs = new HashMap<>();
    private final Map<String, HostTensor> expected = new HashMap<>();
    private String json = """
            {"op": "embedding_bag", "params": {"pooling": "sum", "batch": 2},
             "tolerance": {"out": {"atol": 1e-6, "rtol": 0}}}""";

    static List<String> devices() {
        return Devices.all();
    }

    @BeforeEach
    void aCaseThatPasses() {
        inputs.put("table_0", HostTensor.of(new float[] {1, 2, 3, 4, 10, 20, 30, 40}, 2, 4));
        inputs.put("ids", HostTensor.of(new long[] {0, 1, 1}));
        inputs.put("offsets", HostTensor.of(new int[] {0, 2, 3}));
        expected.put("out", HostTensor.of(new float[] {11, 22, 33, 44, 10, 20, 30, 40}, 2, 4));
    }

    private record Outcome(int status, String out, String problems) {}

    private static Outcome run(Path root, String deviceName) throws IOException {
        ByteArrayOutputStream out = new ByteArrayOutputStream();
        ByteArrayOutputStream problems = new ByteArrayOutputStream();
        try (Device device = Device.open(deviceName);
                Stream stream = Stream.create(device);
                PrintStream outStream = new PrintStream(out, true, StandardCharsets.UTF_8);
                PrintStream problemStream = new PrintStream(problems, true, StandardCharsets.UTF_8)) {
            int status = Parity.run(root, device, stream, outStream, problemStream);
            return new Outcome(status, out.toString(StandardCharsets.UTF_8), problems.toString(StandardCharsets.UTF_8));
        }
    }

    private Outcome runWritten() throws IOException {
        Files.writeString(folder.resolve("case.json"), json);
        Safetensors.write(folder.resolve("inputs.safetensors"), inputs);
        Safetensors.write(folder.resolve("expected.safetensors"), expected);
        return run(folder, "cpu");
    }

    private void assertUnreadable(String... parts) throws IOException {
        Outcome outcome = runWritten();
        assertEquals(Parity.UNREADABLE, outcome.status(), outcome.toString());
        for (String part : parts) {
            assertTrue(outcome.problems().contains(part), () -> "expected \"" + part + "\" in: " + outcome.problems());
        }
    }

    @ParameterizedTest
    @MethodSource("devices")
    void checked_in_cases_pass(String device) throws IOException {
        Outcome outcome = run(CASES, device);
        // The cpu has a kernel for every case; where another device refuses one, the log says which.
        List<String> refused = outcome.problems().lines().filter(line -> line.contains("unsupported on " + device)).toList();
        refused.forEach(line -> System.out.println("[ REFUSED  ] " + line));
        assertTrue(refused.isEmpty() || !device.equals("cpu"), refused::toString);
        assertEquals(refused.size(), outcome.problems().lines().count(), outcome.toString());
        assertEquals(refused.isEmpty() ? Parity.PASSED : Parity.UNREADABLE, outcome.status(), outcome.toString());
        assertTrue(outcome.out().lines().allMatch(line -> line.endsWith(" PASS")), outcome.out());
        try (var folders = Files.list(CASES)) {
            for (Path folder : folders.filter(Files::isDirectory).toList()) {
                assertTrue(
                        outcome.out().lines().anyMatch(line -> line.startsWith(folder.getFileName() + " "))
                                || refused.stream().anyMatch(line -> line.startsWith(folder + ": ")),
                        () -> "no result of " + folder + " in: " + outcome);
            }
        }
    }

    @Test
    void a_right_case_passes() throws IOException {
        Outcome outcome = runWritten();
        assertEquals(Parity.PASSED, outcome.status(), outcome.toString());
        assertTrue(outcome.out().matches(".* out max_abs=0.000e\\+00 max_rel=0.000e\\+00 cosine=1.000000000 PASS\\R"), outcome.out());
    }

    @Test
    void a_wrong_value_fails() throws IOException {
        expected.put("out", HostTensor.of(new float[] {11, 22, 33, 44, 10, 20, 30, 40.5f}, 2, 4));
        Outcome outcome = runWritten();
        assertEquals(Parity.FAILED, outcome.status());
        assertTrue(outcome.out().contains("max_abs=5.000e-01") && outcome.out().contains("FAIL"), outcome.out());
    }

    @Test
    void not_a_number_fails() throws IOException {
        expected.put("out", HostTensor.of(new float[] {11, 22, 33, 44, 10, 20, 30, Float.NaN}, 2, 4));
        assertEquals(Parity.FAILED, runWritten().status());
    }

    @Test
    void what_should_be_infinite_and_is_not_fails() throws IOException {
        json = json.replace("\"rtol\": 0", "\"rtol\": 1e-3");
        expected.put("out", HostTensor.of(new float[] {11, 22, 33, 44, 10, 20, 30, Float.NEGATIVE_INFINITY}, 2, 4));
        assertEquals(Parity.FAILED, runWritten().status());
    }

    @Test
    void an_unknown_operator_is_named() throws IOException {
        json = json.replace("embedding_bag", "embedding_sack");
        assertUnreadable("case.json", "op", "embedding_sack");
    }

    @Test
    void a_missing_tensor_is_named() throws IOException {
        inputs.remove("offsets");
        assertUnreadable("inputs.safetensors", "offsets", "missing");
    }

    @Test
    void an_unknown_tensor_is_named() throws IOException {
        inputs.put("weight", HostTensor.of(new float[] {1, 1, 1}));
        assertUnreadable("inputs.safetensors", "weight", "no such input");
    }

    @Test
    void a_wrong_dtype_is_named() throws IOException {
        inputs.put("ids", HostTensor.of(new float[] {0, 1, 1}));
        assertUnreadable("inputs.safetensors", "ids", "F32");
    }

    @Test
    void a_wrong_rank_is_named() throws IOException {
        inputs.put("table_0", HostTensor.of(new float[] {1, 2, 3, 4}));
        assertUnreadable("inputs.safetensors", "table_0", "rank 2");
    }

    @Test
    void a_wrong_shape_is_refused_by_the_operator() throws IOException {
        inputs.put("offsets", HostTensor.of(new int[] {0, 2, 3, 3}));
        assertUnreadable("embedding_bag", "batch");
    }

    @Test
    void an_id_out_of_bounds_is_refused_by_the_operator() throws IOException {
        inputs.put("ids", HostTensor.of(new long[] {0, 7, 1}));
        assertUnreadable("embedding_bag", "7");
    }

    @Test
    void a_wrong_expected_shape_is_named() throws IOException {
        expected.put("out", HostTensor.of(new float[] {11, 22, 33, 44, 10, 20, 30, 40}, 8));
        assertUnreadable("expected.safetensors", "out", "[2, 4]");
    }

    @Test
    void an_unknown_output_is_named() throws IOException {
        expected.put("lse", HostTensor.of(new float[] {1}));
        json = json.replace("\"out\": {", "\"lse\": {\"atol\": 1}, \"out\": {");
        assertUnreadable("lse", "no such output");
    }

    @Test
    void a_missing_tolerance_is_named() throws IOException {
        json = json.replace("\"out\":", "\"o\":");
        assertUnreadable("case.json", "tolerance.out");
    }

    @Test
    void a_bad_parameter_is_named() throws IOException {
        json = json.replace("\"sum\"", "\"median\"");
        assertUnreadable("case.json", "params.pooling", "median");
    }

    @Test
    void bad_row_formats_and_dims_are_named() throws IOException {
        String good = json;
        json = good.replace("\"batch\": 2", "\"batch\": 2, \"row_format\": \"fbgemm_int3\"");
        assertUnreadable("case.json", "params.row_format", "fbgemm_int3");
        json = good.replace("\"batch\": 2", "\"batch\": 2, \"row_format\": \"fbgemm_int8\"");
        assertUnreadable("case.json", "params.dims", "expected 1 integers", "nothing");
        json = good.replace("\"batch\": 2", "\"batch\": 2, \"row_format\": \"fbgemm_int8\", \"dims\": [4]");
        assertUnreadable("inputs.safetensors", "table_0", "U8", "F32");
        json = good.replace("\"batch\": 2", "\"batch\": 2, \"row_format\": \"fbgemm_int8\", \"dims\": [4.5]");
        assertUnreadable("case.json", "params.dims", "4.5");
    }

    @Test
    void an_unknown_parameter_is_named() throws IOException {
        json = json.replace("\"batch\": 2", "\"batch\": 2, \"pool\": 1");
        assertUnreadable("case.json", "params.pool", "no such parameter");
    }

    @Test
    void broken_json_is_named() throws IOException {
        json = json.substring(0, 40);
        assertUnreadable("case.json", "not JSON");
    }

    @Test
    void a_truncated_file_is_named() throws IOException {
        runWritten();
        Path file = folder.resolve("inputs.safetensors");
        Files.write(file, java.util.Arrays.copyOf(Files.readAllBytes(file), 60));
        Outcome outcome = run(folder, "cpu");
        assertEquals(Parity.UNREADABLE, outcome.status());
        assertTrue(outcome.problems().contains("inputs.safetensors"), outcome.problems());
    }

    private void aCaseOfCodes() {
        inputs.clear();
        expected.clear();
        json = """
                {"op": "rq_decode", "params": {}, "tolerance": {"out": {"rtol": 1e-6}}}""";
        inputs.put("codes", HostTensor.of(new long[] {1, 0}, 2, 1));
        inputs.put("codebooks", HostTensor.of(new float[] {1, 2, 3, 4, 5, 6, 7, 8}, 1, 2, 4));
        expected.put("out", HostTensor.of(new float[] {5, 6, 7, 8, 1, 2, 3, 4}, 2, 4));
    }

    @Test
    void integers_of_64_bits_are_narrowed_where_they_fit() throws IOException {
        aCaseOfCodes();
        Outcome outcome = runWritten();
        assertEquals(Parity.PASSED, outcome.status(), outcome.toString());
        inputs.put("codes", HostTensor.of(new long[] {1L << 32, 0}, 2, 1));
        assertUnreadable("inputs.safetensors", "codes", "4294967296");
    }

    @Test
    void expected_integers_are_compared_exactly() throws IOException {
        aCaseOfCodes();
        json = """
                {"op": "rq_encode", "params": {}, "tolerance": {}}""";
        inputs.remove("codes");
        inputs.put("x", HostTensor.of(new float[] {5, 6, 7, 8, 1, 2, 3, 4}, 2, 4));
        expected.clear();
        expected.put("codes", HostTensor.of(new long[] {1, 0}, 2, 1));
        Outcome outcome = runWritten();
        assertEquals(Parity.PASSED, outcome.status(), outcome.toString());
        expected.put("codes", HostTensor.of(new long[] {1, 1}, 2, 1));
        assertEquals(Parity.FAILED, runWritten().status());
    }

    private void aCaseOfHstu(String params) {
        inputs.clear();
        expected.clear();
        json = "{\"op\": \"hstu_attention\", \"params\": {\"scaling_seqlen\": 4" + params
                + "}, \"tolerance\": {\"out\": {\"atol\": 1e-6}}}";
        for (String name : List.of("queries", "keys", "values")) {
            inputs.put(name, HostTensor.of(new float[2 * 32], 1, 2, 32));
        }
        inputs.put("offsets", HostTensor.of(new int[] {0, 1}));
        expected.put("out", HostTensor.of(new float[2 * 32], 1, 2, 32));
    }

    @Test
    void what_shapes_tell_may_be_repeated() throws IOException {
        aCaseOfHstu(", \"num_heads\": 2, \"head_dim\": 32, \"batch\": 1");
        Outcome outcome = runWritten();
        assertEquals(Parity.PASSED, outcome.status(), outcome.toString());
        aCaseOfHstu(", \"num_heads\": 4");
        assertUnreadable("case.json", "params.num_heads", "4", "2");
    }

    @Test
    void a_bias_may_have_its_heads_last() throws IOException {
        for (long[] shape : new long[][] {{2, 3}, {3, 2}}) {
            aCaseOfHstu("");
            inputs.put("values", HostTensor.of(filled(2 * 32), 1, 2, 32));
            inputs.put("position_bias", HostTensor.of(
                    shape[0] == 2 ? new float[] {7, 1, 7, 7, 0, 7} : new float[] {7, 7, 1, 0, 7, 7}, shape));
            float[] out = new float[2 * 32];
            java.util.Arrays.fill(out, 0, 32, (float) (1 / (1 + Math.exp(-1)) / 4));
            expected.put("out", HostTensor.of(out, 1, 2, 32));
            Outcome outcome = runWritten();
            assertEquals(Parity.PASSED, outcome.status(), outcome.toString());
        }
    }

    private static float[] filled(int count) {
        float[] ones = new float[count];
        java.util.Arrays.fill(ones, 1);
        return ones;
    }

    @Test
    void items_of_any_dim_and_flags_of_bytes_are_searched() throws IOException {
        inputs.clear();
        expected.clear();
        json = """
                {"op": "top_k_inner_product", "params": {"k": 2}, "tolerance": {"scores": {"atol": 0}}}""";
        inputs.put("queries", HostTensor.of(new float[] {1, 2, 3}, 1, 3));
        inputs.put("items", HostTensor.of(new float[] {1, 0, 0, 0, 1, 0, 0, 0, 1}, 3, 3));
        inputs.put("allowed", new HostTensor(DType.U8, java.lang.foreign.MemorySegment.ofArray(new byte[] {1, 1, 0}), 3));
        expected.put("scores", HostTensor.of(new float[] {2, 1}, 1, 2));
        expected.put("indices", HostTensor.of(new long[] {1, 0}, 1, 2));
        Outcome outcome = runWritten();
        assertEquals(Parity.PASSED, outcome.status(), outcome.toString());
    }

    private void assertPasses() throws IOException {
        Outcome outcome = runWritten();
        assertEquals(Parity.PASSED, outcome.status(), outcome.toString());
    }

    @Test
    void blocks_and_codes_of_any_dim_are_computed() throws IOException {
        inputs.clear();
        expected.clear();
        json = "{\"op\": \"linear\", \"params\": {\"activation\": \"none\"}, \"tolerance\": {\"atol\": 0}}";
        inputs.put("x", HostTensor.of(new float[] {1, 2, 3}, 1, 3));
        inputs.put("weight", HostTensor.of(new float[] {1, 0, 0, 0, 1, 1}, 2, 3));
        inputs.put("bias", HostTensor.of(new float[] {10, 20}, 2));
        expected.put("out", HostTensor.of(new float[] {11, 25}, 1, 2));
        assertPasses();
        json = json.replace("linear", "l2_normalize").replace("\"activation\": \"none\"", "").replace("0}", "1e-7}");
        inputs.clear();
        inputs.put("x", HostTensor.of(new float[] {3, 0, 4}, 1, 3));
        expected.put("out", HostTensor.of(new float[] {0.6f, 0, 0.8f}, 1, 3));
        assertPasses();
        json = "{\"op\": \"rq_encode\", \"params\": {}, \"tolerance\": {}}";
        inputs.put("codebooks", HostTensor.of(new float[] {3, 0, 3, 2, 0, 4}, 1, 2, 3));
        expected.clear();
        expected.put("codes", HostTensor.of(new float[] {0}, 1, 1)); // exact, though its dtype is that of numbers
        assertPasses();
    }

    @Test
    void layer_norm_needs_no_weights() throws IOException {
        inputs.clear();
        expected.clear();
        json = "{\"op\": \"layer_norm\", \"params\": {\"eps\": 0}, \"tolerance\": {\"out\": {\"atol\": 1e-6}}}";
        inputs.put("x", HostTensor.of(new float[] {1, 3, 1, 3}, 1, 4));
        expected.put("out", HostTensor.of(new float[] {-1, 1, -1, 1}, 1, 4));
        assertPasses();
    }

    private void aCaseOfPages() {
        inputs.clear();
        expected.clear();
        json = """
                {"op": "cached_hstu_attention", "params": {"scaling_seqlen": 4, "causal": 1, "page_size": 16},
                 "tolerance": {"out": {"atol": 1e-6}}}""";
        inputs.put("queries", HostTensor.of(new float[64], 2, 1, 32));
        inputs.put("q_offsets", HostTensor.of(new int[] {0, 1, 2}));
        for (String name : List.of("key_pages", "value_pages")) {
            inputs.put(name, HostTensor.of(DType.BF16, filled(2 * 16 * 32), 2, 16, 1, 32));
        }
        inputs.put("page_table", HostTensor.of(new long[] {1, 0}, 2, 1));
        inputs.put("seq_lens", HostTensor.of(new long[] {2, 1}));
        inputs.put("timestamps", HostTensor.of(new long[] {5, 6, 9}));
        expected.put("out", HostTensor.of(new float[64], 2, 1, 32));
    }

    @Test
    void timestamps_over_pages_lie_row_behind_row_and_matter_with_a_time_bias_only() throws IOException {
        aCaseOfPages();
        assertPasses();
        inputs.put("time_bias", HostTensor.of(new float[] {1, 2}));
        float[] out = new float[64]; // the gaps are 1 and 0: bucket 0, a bias of 1
        java.util.Arrays.fill(out, 0, 32, (float) (2 / (1 + Math.exp(-1)) / 4));
        java.util.Arrays.fill(out, 32, 64, (float) (1 / (1 + Math.exp(-1)) / 4));
        expected.put("out", HostTensor.of(out, 2, 1, 32));
        assertPasses();
        inputs.put("timestamps", HostTensor.of(new long[] {5, 6}));
        assertUnreadable("inputs.safetensors", "timestamps", "3", "2");
    }

    @Test
    void fp8_pages_without_scales_stand_for_themselves() throws IOException {
        aCaseOfPages();
        for (String name : List.of("key_pages", "value_pages")) {
            byte[] ones = new byte[2 * 16 * 32];
            java.util.Arrays.fill(ones, (byte) 0x38);
            inputs.put(name, new HostTensor(DType.F8_E4M3, java.lang.foreign.MemorySegment.ofArray(ones), 2, 16, 1, 32));
        }
        inputs.put("key_scales", new HostTensor(DType.F32, java.lang.foreign.MemorySegment.ofArray(new float[] {0.5f})));
        inputs.put("seq_lens", HostTensor.of(new long[] {1, 1}));
        inputs.put("position_bias", HostTensor.of(new float[] {1}));
        float[] out = new float[64];
        java.util.Arrays.fill(out, (float) (1 / (1 + Math.exp(-1)) / 4));
        expected.put("out", HostTensor.of(out, 2, 1, 32));
        assertPasses();
    }

    @Test
    void a_single_request_of_beams_needs_no_first_dimension() throws IOException {
        inputs.clear();
        expected.clear();
        json = "{\"op\": \"beam_attention\", \"params\": {}, \"tolerance\": {\"out\": {\"atol\": 0}}}";
        inputs.put("queries", HostTensor.of(new float[64], 2, 1, 32));
        inputs.put("beam_offsets", HostTensor.of(new int[] {0, 2}));
        inputs.put("keys", HostTensor.of(new float[0], 0, 1, 32));
        inputs.put("values", HostTensor.of(new float[0], 0, 1, 32));
        inputs.put("prefix_offsets", HostTensor.of(new int[] {0, 0}));
        float[] rows = new float[64];
        java.util.Arrays.fill(rows, 32, 64, 1);
        inputs.put("suffix_keys", HostTensor.of(rows, 1, 2, 1, 32));
        inputs.put("suffix_values", HostTensor.of(rows, 1, 2, 1, 32));
        inputs.put("ancestry", HostTensor.of(new long[] {1, 0}, 1, 2));
        float[] swapped = new float[64];
        java.util.Arrays.fill(swapped, 0, 32, 1);
        expected.put("out", HostTensor.of(swapped, 2, 1, 32));
        assertPasses();
    }

    @Test
    void one_broken_case_does_not_stop_the_others() throws IOException {
        Files.createDirectories(folder.resolve("a"));
        Path root = folder;
        folder = root.resolve("a");
        json = json.replace("\"batch\": 2", "\"batch\": 2, \"padding_id\": 9223372036854775807");
        runWritten();
        aCaseOfCodes();
        folder = Files.createDirectories(root.resolve("b"));
        runWritten();
        Outcome outcome = run(root, "cpu");
        assertTrue(outcome.out().contains("b out "), outcome.toString());
    }

    @Test
    void floats_are_converted_to_the_cases_dtype_first() throws IOException {
        inputs.put("table_0", HostTensor.of(new float[] {1.0009765625f, 2, 3, 4, 10, 20, 30, 40}, 2, 4));
        json = json.replace("\"batch\": 2", "\"batch\": 2, \"dtype\": \"bf16\"");
        Outcome outcome = runWritten();
        assertEquals(Parity.PASSED, outcome.status(), outcome.toString());
        assertEquals(DType.F32, inputs.get("table_0").dtype());
    }
}
