package io.jindou;

import java.util.Objects;

/**
 * An embedding table on a device: rows of numbers, or of codes with their scale and bias.
 *
 * {@snippet file="io/jindou/DocumentationTest.java" region="embedding-table"}
 *
 * @param rows {@code [rows, dim]} numbers, or {@code [rows, bytes]} {@link DType#U8}
 * @param format what a row holds
 * @param dim elements a row, a multiple of 4 up to 2048
 * @param keys from ids to rows
 */
public record EmbeddingTable(Tensor rows, RowFormat format, int dim, TableKeys keys) implements AutoCloseable {
    /**
     * Checks for null.
     *
     * @throws NullPointerException when a component is null, naming it
     */
    public EmbeddingTable {
        if (rows == null) {
            throw NativeObject.missing("rows");
        }
        Objects.requireNonNull(format, "format");
        Objects.requireNonNull(keys, "keys");
    }

    /**
     * A table whose ids are rows.
     *
     * @param rows {@code [rows, dim]} numbers, or {@code [rows, bytes]} {@link DType#U8}
     * @param format what a row holds
     * @param dim elements a row, a multiple of 4 up to 2048
     */
    public EmbeddingTable(Tensor rows, RowFormat format, int dim) {
        this(rows, format, dim, TableKeys.ROWS);
    }

    /**
     * A table of numbers.
     *
     * @param rows {@code [rows, dim]} {@link DType#F32}, {@link DType#F16}, {@link DType#BF16} or {@link DType#F8_E4M3}
     * @return the table
     */
    public static EmbeddingTable plain(Tensor rows) {
        if (rows == null) {
            throw NativeObject.missing("table");
        }
        // Another rank is the plan's to refuse.
        return new EmbeddingTable(rows, RowFormat.PLAIN, rows.rank() == 2 ? Math.toIntExact(rows.dim(1)) : 0);
    }

    /**
     * Copies rows of codes to a device as they are, for example a tensor of a {@link Safetensors} file that PyTorch wrote.
     *
     * @param stream orders the write
     * @param format what a row holds
     * @param rows {@code [rows, bytes]} {@link DType#U8}
     * @param dim elements a row
     * @return the table, to be closed
     */
    public static EmbeddingTable of(Stream stream, RowFormat format, HostTensor rows, int dim) {
        Objects.requireNonNull(format, "format");
        return new EmbeddingTable(Tensor.of(stream, rows), format, dim);
    }

    /**
     * Quantises numbers row by row and copies the codes to a device, rows aligned to 16 bytes; see {@link QuantizedRows}.
     *
     * @param stream orders the write
     * @param format what the rows shall hold
     * @param values {@code [rows, dim]} of any floating dtype
     * @return the table, to be closed
     */
    public static EmbeddingTable quantize(Stream stream, RowFormat format, HostTensor values) {
        HostTensor rows = QuantizedRows.quantize(format, values, 16);
        return of(stream, format, rows, Math.toIntExact(values.shape()[1]));
    }

    /**
     * Quantises numbers that are on a device, rows aligned to 16 bytes; a row that the format cannot hold is reported at the next
     * synchronisation.
     *
     * @param stream orders the work
     * @param format what the rows shall hold
     * @param values {@code [rows, dim]} {@link DType#F32}, {@link DType#F16} or {@link DType#BF16}
     * @return the table, to be closed
     */
    public static EmbeddingTable quantize(Stream stream, RowFormat format, Tensor values) {
        Objects.requireNonNull(format, "format");
        if (values == null) {
            throw NativeObject.missing("values");
        }
        if (values.rank() != 2) {
            throw new InvalidArgumentException("argument 'values': expected rank 2, got rank " + values.rank());
        }
        int dim = Math.toIntExact(values.dim(1));
        Tensor rows = Tensor.create(values.device(), DType.U8, values.dim(0), Math.ceilDiv(format.rowBytes(dim), 16) * 16L);
        try {
            QuantizedRows.quantize(stream, format, values, Bounds.STRICT, rows);
        } catch (RuntimeException | Error e) {
            rows.close();
            throw e;
        }
        return new EmbeddingTable(rows, format, dim);
    }

    /**
     * The same rows under ids of any number. Both tables are over one tensor: close one of them.
     *
     * @param value from ids to rows
     * @return the table
     */
    public EmbeddingTable withKeys(TableKeys value) {
        return new EmbeddingTable(rows, format, dim, value);
    }

    /**
     * The columns that the table has in a result.
     *
     * @return dim, or as many times that as an id has rows side by side
     */
    public int columns() {
        return Math.multiplyExact(dim, keys.rows());
    }

    /** Closes the tensor. */
    @Override
    public void close() {
        rows.close();
    }
}
