package io.jindou;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.core.JsonToken;
import java.io.IOException;
import java.math.BigInteger;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.nio.ByteBuffer;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * The JSON header of a safetensors file, checked against the size of the data that follows: every tensor's bytes are exactly those
 * of its dtype and shape, and the tensors cover the data without holes and without overlap, as the format demands.
 */
record SafetensorsHeader(Map<String, Entry> entries, Map<String, String> metadata) {
    /** Where the data of one tensor lies, relative to the end of the header. */
    record Entry(DType dtype, long[] shape, long begin, long end) {}

    static final String METADATA = "__metadata__";

    private static final JsonFactory JSON =
            JsonFactory.builder().enable(com.fasterxml.jackson.core.StreamReadFeature.STRICT_DUPLICATE_DETECTION).build();

    private static final Map<String, DType> DTYPES = Map.of(
            "F64", DType.F64,
            "F32", DType.F32,
            "F16", DType.F16,
            "BF16", DType.BF16,
            "F8_E4M3", DType.F8_E4M3,
            "I64", DType.I64,
            "I32", DType.I32,
            "I8", DType.I8,
            "U8", DType.U8,
            "BOOL", DType.BOOL);

    /** Reads the header's JSON, {@code text}; the data that follows has {@code dataBytes} bytes. */
    static SafetensorsHeader parse(Path file, byte[] text, long dataBytes) throws SafetensorsException {
        String decoded;
        try {
            decoded = StandardCharsets.UTF_8.newDecoder().decode(ByteBuffer.wrap(text)).toString();
        } catch (CharacterCodingException e) {
            throw new SafetensorsException(file, "header", "expected JSON, got bytes that are not UTF-8");
        }
        Reader reader = new Reader(file);
        try (JsonParser parser = JSON.createParser(decoded)) {
            reader.header(parser);
        } catch (SafetensorsException e) {
            throw e;
        } catch (JsonProcessingException e) {
            // Without the excerpt of the source, which for a binary file is noise.
            throw new SafetensorsException(file, "header", "expected JSON: " + e.getOriginalMessage());
        } catch (IOException e) {
            throw new SafetensorsException(file, "header", "expected JSON: " + e.getMessage());
        }
        checkCover(file, reader.entries, dataBytes);
        return new SafetensorsHeader(reader.entries, reader.metadata);
    }

    private static void checkCover(Path file, Map<String, Entry> entries, long dataBytes) throws SafetensorsException {
        List<Map.Entry<String, Entry>> sorted = new ArrayList<>(entries.entrySet());
        sorted.sort(Comparator.comparingLong((Map.Entry<String, Entry> e) -> e.getValue().begin())
                .thenComparingLong(e -> e.getValue().end()));
        long position = 0;
        for (var entry : sorted) {
            String field = entry.getKey() + ".data_offsets";
            Entry tensor = entry.getValue();
            if (tensor.end() > dataBytes) {
                throw new SafetensorsException(file, field, "expected an end of at most " + dataBytes
                        + " (the bytes after the header), got " + offsets(tensor) + "; the file may be truncated");
            }
            if (tensor.begin() < position) {
                throw new SafetensorsException(file, field,
                        "expected to begin at " + position + " where the tensor before it ends, got " + offsets(tensor) + " (overlap)");
            }
            if (tensor.begin() > position) {
                throw new SafetensorsException(file, field,
                        "expected to begin at " + position + " where the tensor before it ends, got " + offsets(tensor) + " (hole)");
            }
            position = tensor.end();
        }
        if (position != dataBytes) {
            throw new SafetensorsException(file, "data",
                    "expected " + position + " bytes after the header (the end of the last tensor), got " + dataBytes);
        }
    }

    private static String offsets(Entry tensor) {
        return "[" + tensor.begin() + ", " + tensor.end() + "]";
    }

    /** One pass over the tokens. */
    private static final class Reader {
        private final Path file;
        private final Map<String, Entry> entries = new LinkedHashMap<>();
        private final Map<String, String> metadata = new LinkedHashMap<>();

        Reader(Path file) {
            this.file = file;
        }

        void header(JsonParser parser) throws IOException {
            expect(parser.nextToken(), JsonToken.START_OBJECT, "header");
            while (parser.nextToken() == JsonToken.FIELD_NAME) {
                String name = parser.currentName();
                parser.nextToken();
                if (name.equals(METADATA)) {
                    metadata(parser);
                } else {
                    entries.put(name, entry(parser, name));
                }
            }
            if (parser.nextToken() != null) {
                throw failure("header", "expected nothing after the closing brace, got " + parser.currentToken());
            }
        }

        private void metadata(JsonParser parser) throws IOException {
            expect(parser.currentToken(), JsonToken.START_OBJECT, METADATA);
            while (parser.nextToken() == JsonToken.FIELD_NAME) {
                String key = parser.currentName();
                expect(parser.nextToken(), JsonToken.VALUE_STRING, METADATA + "." + key);
                metadata.put(key, parser.getText());
            }
        }

        private Entry entry(JsonParser parser, String name) throws IOException {
            expect(parser.currentToken(), JsonToken.START_OBJECT, name);
            DType dtype = null;
            long[] shape = null;
            long[] offsets = null;
            while (parser.nextToken() == JsonToken.FIELD_NAME) {
                String key = parser.currentName();
                String field = name + "." + key;
                parser.nextToken();
                switch (key) {
                    case "dtype" -> {
                        expect(parser.currentToken(), JsonToken.VALUE_STRING, field);
                        dtype = DTYPES.get(parser.getText());
                        if (dtype == null) {
                            throw failure(field, "expected one of " + DTYPES.keySet().stream().sorted().toList() + ", got \""
                                    + parser.getText() + "\"");
                        }
                    }
                    case "shape" -> shape = numbers(parser, field);
                    case "data_offsets" -> offsets = numbers(parser, field);
                    default -> throw failure(field, "expected dtype, shape and data_offsets only");
                }
            }
            if (dtype == null) {
                throw failure(name + ".dtype", "missing");
            }
            if (shape == null) {
                throw failure(name + ".shape", "missing");
            }
            if (offsets == null) {
                throw failure(name + ".data_offsets", "missing");
            }
            if (offsets.length != 2 || offsets[0] > offsets[1]) {
                throw failure(name + ".data_offsets", "expected [begin, end] with begin <= end, got " + Arrays.toString(offsets));
            }
            long bytes;
            try {
                bytes = HostTensor.bytes(dtype, shape);
            } catch (InvalidArgumentException e) {
                throw failure(name + ".shape", "expected less than 2^63 bytes, got " + dtype + Arrays.toString(shape));
            }
            if (bytes != offsets[1] - offsets[0]) {
                throw failure(name + ".data_offsets", "expected " + bytes + " bytes for " + dtype + Arrays.toString(shape) + ", got "
                        + (offsets[1] - offsets[0]) + " " + Arrays.toString(offsets));
            }
            return new Entry(dtype, shape, offsets[0], offsets[1]);
        }

        private long[] numbers(JsonParser parser, String field) throws IOException {
            expect(parser.currentToken(), JsonToken.START_ARRAY, field);
            List<Long> numbers = new ArrayList<>();
            while (parser.nextToken() != JsonToken.END_ARRAY) {
                expect(parser.currentToken(), JsonToken.VALUE_NUMBER_INT, field);
                BigInteger number = parser.getBigIntegerValue();
                if (number.signum() < 0 || number.bitLength() > 63) {
                    throw failure(field, "expected whole numbers from 0 to 2^63 - 1, got " + number);
                }
                numbers.add(number.longValue());
            }
            return numbers.stream().mapToLong(Long::longValue).toArray();
        }

        private void expect(JsonToken actual, JsonToken expected, String field) throws SafetensorsException {
            if (actual != expected) {
                throw failure(field, "expected " + name(expected) + ", got " + name(actual));
            }
        }

        private static String name(JsonToken token) {
            return token == null ? "the end of the header" : switch (token) {
                case START_OBJECT -> "an object";
                case START_ARRAY -> "an array";
                case VALUE_STRING -> "a string";
                case VALUE_NUMBER_INT -> "a whole number";
                case VALUE_NUMBER_FLOAT -> "a fraction";
                default -> token.asString() == null ? token.name() : "\"" + token.asString() + "\"";
            };
        }

        private SafetensorsException failure(String field, String message) {
            return new SafetensorsException(file, field, message);
        }
    }
}
