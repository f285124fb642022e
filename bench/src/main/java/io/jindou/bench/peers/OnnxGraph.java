package io.jindou.bench.peers;

import com.google.protobuf.ByteString;
import com.google.protobuf.CodedOutputStream;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;

/** Builds a small ONNX model, so that ONNX Runtime can be measured without Python. Field numbers are those of onnx.proto. */
final class OnnxGraph {
    /** Element types of TensorProto. */
    static final int FLOAT = 1;
    static final int INT64 = 7;

    private static final int IR_VERSION = 8;

    private final ByteArrayOutputStream graph = new ByteArrayOutputStream();
    private final int opset;

    OnnxGraph(int opset) {
        this.opset = opset;
    }

    OnnxGraph input(String name, int type, long... shape) {
        return message(11, valueInfo(name, type, shape));
    }

    OnnxGraph output(String name, int type, long... shape) {
        return message(12, valueInfo(name, type, shape));
    }

    /** A constant. */
    OnnxGraph initializer(String name, long[] shape, float[] values) {
        ByteBuffer raw = ByteBuffer.allocate(4 * values.length).order(ByteOrder.LITTLE_ENDIAN);
        raw.asFloatBuffer().put(values);
        return message(5, write(out -> {
            for (long dim : shape) {
                out.writeInt64(1, dim);
            }
            out.writeInt32(2, FLOAT);
            out.writeString(8, name);
            out.writeBytes(9, ByteString.copyFrom(raw.array()));
        }));
    }

    /** A node; attributes are {@code name, value} pairs with values of type Long (int), Float or long[] (ints). */
    OnnxGraph node(String op, String[] inputs, String output, Object... attributes) {
        return message(1, write(out -> {
            for (String input : inputs) {
                out.writeString(1, input);
            }
            out.writeString(2, output);
            out.writeString(4, op);
            for (int i = 0; i < attributes.length; i += 2) {
                out.writeByteArray(5, attribute((String) attributes[i], attributes[i + 1]));
            }
        }));
    }

    /** The ModelProto's bytes. */
    byte[] build() {
        graph.writeBytes(write(out -> out.writeString(2, "jindou-bench")));
        return write(out -> {
            out.writeInt64(1, IR_VERSION);
            out.writeByteArray(7, graph.toByteArray());
            out.writeByteArray(8, write(version -> version.writeInt64(2, opset)));
        });
    }

    private static byte[] attribute(String name, Object value) {
        return write(out -> {
            out.writeString(1, name);
            switch (value) {
                case Long number -> {
                    out.writeInt64(3, number);
                    out.writeInt32(20, 2);
                }
                case Float number -> {
                    out.writeFloat(2, number);
                    out.writeInt32(20, 1);
                }
                case long[] numbers -> {
                    for (long number : numbers) {
                        out.writeInt64(8, number);
                    }
                    out.writeInt32(20, 7);
                }
                default -> throw new IllegalArgumentException("attribute " + name + ": " + value.getClass());
            }
        });
    }

    private static byte[] valueInfo(String name, int type, long... shape) {
        byte[] dims = write(out -> {
            for (long dim : shape) {
                out.writeByteArray(1, write(d -> d.writeInt64(1, dim)));
            }
        });
        byte[] tensor = write(out -> {
            out.writeInt32(1, type);
            out.writeByteArray(2, dims);
        });
        return write(out -> {
            out.writeString(1, name);
            out.writeByteArray(2, write(t -> t.writeByteArray(1, tensor)));
        });
    }

    private OnnxGraph message(int field, byte[] content) {
        graph.writeBytes(write(out -> out.writeByteArray(field, content)));
        return this;
    }

    private interface Writer {
        void write(CodedOutputStream out) throws IOException;
    }

    private static byte[] write(Writer writer) {
        ByteArrayOutputStream bytes = new ByteArrayOutputStream();
        CodedOutputStream out = CodedOutputStream.newInstance(bytes);
        try {
            writer.write(out);
            out.flush();
        } catch (IOException impossible) {
            throw new UncheckedIOException(impossible);
        }
        return bytes.toByteArray();
    }
}
