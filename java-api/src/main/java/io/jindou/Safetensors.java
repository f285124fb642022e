package io.jindou;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonGenerator;
import java.io.ByteArrayOutputStream;
import java.io.EOFException;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Objects;
import java.util.Set;

/**
 * A safetensors file: named tensors behind a JSON header. Reading maps the file into memory and copies nothing; the header is checked
 * strictly before any tensor is given out.
 *
 * {@snippet file="io/jindou/DocumentationTest.java" region="safetensors"}
 *
 * <p>Tensors that were got from a file live as long as it is open. The file must not be truncated meanwhile. All methods may be
 * called from any thread.
 *
 * @see <a href="https://github.com/huggingface/safetensors">the format</a>
 */
public final class Safetensors implements AutoCloseable {
    /** The limit of the reference implementation. */
    private static final long MAX_HEADER_BYTES = 100_000_000;

    private static final ValueLayout.OfLong LITTLE_ENDIAN_LONG =
            ValueLayout.JAVA_LONG_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);
    /** The data begins at a multiple of this in files that we write, so that vectors can be loaded from the mapping itself. */
    private static final int ALIGNMENT = 64;

    private final Path file;
    private final Arena arena;
    private final Map<String, HostTensor> tensors;
    private final Map<String, String> metadata;

    private Safetensors(Path file, Arena arena, Map<String, HostTensor> tensors, Map<String, String> metadata) {
        this.file = file;
        this.arena = arena;
        this.tensors = tensors;
        this.metadata = metadata;
    }

    /**
     * Opens a file for reading.
     *
     * @param file its path
     * @return the file, to be closed
     * @throws SafetensorsException when it is damaged, truncated, or no such file format; the message names file and field
     * @throws IOException when it cannot be read
     */
    public static Safetensors open(Path file) throws IOException {
        Objects.requireNonNull(file, "file");
        Arena arena = Arena.ofShared();
        try (FileChannel channel = FileChannel.open(file, StandardOpenOption.READ)) {
            long size = channel.size();
            if (size < Long.BYTES) {
                throw new SafetensorsException(file, "header size", "expected 8 bytes, got a file of " + size);
            }
            MemorySegment mapped = channel.map(FileChannel.MapMode.READ_ONLY, 0, size, arena);
            long headerBytes = mapped.get(LITTLE_ENDIAN_LONG, 0);
            if (headerBytes < 2 || headerBytes > MAX_HEADER_BYTES) {
                throw new SafetensorsException(file, "header size",
                        "expected 2 to " + MAX_HEADER_BYTES + " bytes, got " + Long.toUnsignedString(headerBytes));
            }
            if (headerBytes > size - Long.BYTES) {
                throw new SafetensorsException(file, "header size", "expected at most " + (size - Long.BYTES)
                        + " (the bytes that follow), got " + headerBytes + "; the file may be truncated");
            }
            byte[] text = mapped.asSlice(Long.BYTES, headerBytes).toArray(ValueLayout.JAVA_BYTE);
            MemorySegment data = mapped.asSlice(Long.BYTES + headerBytes);
            SafetensorsHeader header = SafetensorsHeader.parse(file, text, data.byteSize());
            Map<String, HostTensor> tensors = new LinkedHashMap<>();
            header.entries().forEach((name, entry) -> tensors.put(
                    name,
                    new HostTensor(entry.dtype(), data.asSlice(entry.begin(), entry.end() - entry.begin()), entry.shape())));
            return new Safetensors(
                    file, arena, Collections.unmodifiableMap(tensors), Collections.unmodifiableMap(header.metadata()));
        } catch (IOException | RuntimeException | Error e) {
            arena.close();
            throw e;
        }
    }

    /**
     * Writes a file without metadata, as {@link #write(Path, Map, Map)}.
     *
     * @param file its path; replaced at once when everything is written, or not at all
     * @param tensors by name, written in the map's order
     * @throws IOException when it cannot be written
     */
    public static void write(Path file, Map<String, HostTensor> tensors) throws IOException {
        write(file, tensors, Map.of());
    }

    /**
     * Writes a file. It is written beside the old one, as {@code <name><number>.tmp}: a process that is killed meanwhile leaves that file,
     * which nothing needs, and which others do not delete, since it may be of a process that is still writing.
     *
     * <p>Who may read it is as if it were written in place: a new file has the permissions of any that the process creates there (its umask); one
     * that replaces another has those of the other, its group and, where the process may give it that, its owner. Where it may not give it the group,
     * its own group may do no more than all others. A symbolic link is replaced by a new file.
     *
     * @param file its path; replaced at once when everything is written, or not at all
     * @param tensors by name, written in the map's order
     * @param metadata text by name
     * @throws IOException when it cannot be written
     * @throws InvalidArgumentException when a tensor is called {@code __metadata__}
     */
    public static void write(Path file, Map<String, HostTensor> tensors, Map<String, String> metadata) throws IOException {
        Objects.requireNonNull(file, "file");
        Objects.requireNonNull(tensors, "tensors");
        Objects.requireNonNull(metadata, "metadata");
        if (tensors.containsKey(SafetensorsHeader.METADATA)) {
            throw new InvalidArgumentException(
                    "argument 'tensors': expected names other than " + SafetensorsHeader.METADATA + ", which the format reserves");
        }
        byte[] header = header(tensors, metadata);
        Replacement.write(file, channel -> {
            ByteBuffer size = ByteBuffer.allocate(Long.BYTES).order(ByteOrder.LITTLE_ENDIAN).putLong(0, header.length);
            writeFully(channel, size);
            writeFully(channel, ByteBuffer.wrap(header));
            for (HostTensor tensor : tensors.values()) {
                writeFully(channel, tensor.data());
            }
        });
    }

    /**
     * The path of the file.
     *
     * @return as given to {@link #open}
     */
    public Path file() {
        return file;
    }

    /**
     * The names of the tensors, in the order of the header.
     *
     * @return the names
     */
    public Set<String> names() {
        return tensors.keySet();
    }

    /**
     * The metadata of the header.
     *
     * @return text by name; may be empty
     */
    public Map<String, String> metadata() {
        return metadata;
    }

    /**
     * All tensors by name, in the order of the header.
     *
     * @return the tensors; their data is the mapped file
     */
    public Map<String, HostTensor> tensors() {
        return tensors;
    }

    /**
     * One tensor.
     *
     * @param name its name
     * @return the tensor; its data is the mapped file
     * @throws SafetensorsException when there is none of that name; the message lists those that there are
     */
    public HostTensor get(String name) throws SafetensorsException {
        HostTensor tensor = tensors.get(Objects.requireNonNull(name, "name"));
        if (tensor == null) {
            throw new SafetensorsException(file, name, "no such tensor; there are " + names());
        }
        return tensor;
    }

    /** Unmaps the file. Its tensors' data can no longer be used: access throws {@link IllegalStateException}. */
    @Override
    public void close() {
        if (arena.scope().isAlive()) {
            arena.close();
        }
    }

    @Override
    public String toString() {
        return "Safetensors[" + file + ", " + tensors.size() + " tensors]";
    }

    private static byte[] header(Map<String, HostTensor> tensors, Map<String, String> metadata) throws IOException {
        ByteArrayOutputStream bytes = new ByteArrayOutputStream();
        try (JsonGenerator json = new JsonFactory().createGenerator(bytes)) {
            json.writeStartObject();
            if (!metadata.isEmpty()) {
                json.writeObjectFieldStart(SafetensorsHeader.METADATA);
                for (var entry : metadata.entrySet()) {
                    json.writeStringField(entry.getKey(), Objects.requireNonNull(entry.getValue(), "metadata value"));
                }
                json.writeEndObject();
            }
            long position = 0;
            for (var entry : tensors.entrySet()) {
                HostTensor tensor = Objects.requireNonNull(entry.getValue(), "tensor");
                long end = Math.addExact(position, tensor.data().byteSize());
                json.writeObjectFieldStart(entry.getKey());
                json.writeStringField("dtype", tensor.dtype().name());
                json.writeFieldName("shape");
                long[] shape = tensor.shape();
                json.writeArray(shape, 0, shape.length);
                json.writeFieldName("data_offsets");
                json.writeArray(new long[] {position, end}, 0, 2);
                json.writeEndObject();
                position = end;
            }
            json.writeEndObject();
        }
        // Spaces after the JSON are allowed; they align the data.
        while ((Long.BYTES + bytes.size()) % ALIGNMENT != 0) {
            bytes.write(' ');
        }
        return bytes.toByteArray();
    }

    private static void writeFully(FileChannel channel, MemorySegment data) throws IOException {
        final long chunk = 1L << 30;
        for (long position = 0; position < data.byteSize(); position += chunk) {
            MemorySegment part = data.asSlice(position, Math.min(chunk, data.byteSize() - position));
            writeFully(channel, asBytes(part));
        }
    }

    /** Only segments over byte arrays and native memory can be seen as byte buffers; others are copied. */
    private static ByteBuffer asBytes(MemorySegment part) {
        boolean direct = part.isNative() || part.heapBase().orElse(null) instanceof byte[];
        return direct ? part.asByteBuffer() : ByteBuffer.wrap(part.toArray(ValueLayout.JAVA_BYTE));
    }

    private static void writeFully(FileChannel channel, ByteBuffer data) throws IOException {
        while (data.hasRemaining()) {
            if (channel.write(data) <= 0) {
                throw new EOFException("no progress writing");
            }
        }
    }
}
