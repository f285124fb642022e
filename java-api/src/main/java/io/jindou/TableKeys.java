package io.jindou;

import io.jindou.bindings.JindouAbi;
import io.jindou.bindings.jd_key_function;
import io.jindou.bindings.jd_table_keys;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.List;
import java.util.Objects;

/**
 * From ids of any number to the rows of an {@link EmbeddingTable}, computed in the kernel: each id chooses one row by each function, and
 * stands for their sum, or for all of them side by side ({@code k * dim} columns).
 *
 * {@snippet file="io/jindou/DocumentationTest.java" region="table-keys"}
 *
 * <p>An id that one of the functions does not take is out of range: it follows {@link Bounds} and contributes nothing at all. In means an
 * id counts once, whatever the number of its rows. Several functions need {@link Pooling#SUM} or {@link Pooling#MEAN}, or, side by side, also
 * {@link Pooling#MAX}; {@link SequenceEmbedding} takes any.
 *
 * <p>The hashing trick: Weinberger et al. 2009. Several hashes: Svenstrup et al., "Hash Embeddings", 2017. Quotient and remainder: Shi et al.,
 * arXiv 1909.02107.
 *
 * @param functions up to 8; none: an id is a row of the table
 * @param sideBySide whether the rows stand side by side; else they are summed
 */
public record TableKeys(List<KeyFunction> functions, boolean sideBySide) {
    /** Ids are rows. */
    public static final TableKeys ROWS = new TableKeys(List.of(), false);

    /**
     * Checks for null.
     *
     * @throws NullPointerException when a component is null, naming it
     */
    public TableKeys {
        functions = List.copyOf(Objects.requireNonNull(functions, "functions"));
    }

    /**
     * {@code id mod rows}.
     *
     * @return the keys of a table of any number of rows
     */
    public static TableKeys modulo() {
        return new TableKeys(List.of(new KeyFunction.Modulo(0, 0)), false);
    }

    /**
     * One hash for each seed, each over the whole table, summed.
     *
     * @param seeds one a function
     * @return the keys
     */
    public static TableKeys hashed(long... seeds) {
        List<KeyFunction> functions = new ArrayList<>();
        for (long seed : seeds) {
            functions.add(new KeyFunction.Hash(seed, 0, 0));
        }
        return new TableKeys(functions, false);
    }

    /**
     * Quotient and remainder, summed: of the table's rows the first {@code quotients} are chosen by {@code id / divisor}, the {@code divisor}
     * after them by {@code id mod divisor}. Every id of 0 to {@code quotients * divisor - 1} has a pair of its own.
     *
     * @param quotients rows of quotients
     * @param divisor rows of remainders
     * @return the keys of a table of {@code quotients + divisor} rows
     */
    public static TableKeys quotientRemainder(long quotients, long divisor) {
        return new TableKeys(
                List.of(new KeyFunction.Quotient(divisor, 0, quotients), new KeyFunction.Modulo(quotients, divisor)), false);
    }

    /**
     * The same with another combination.
     *
     * @param value whether the rows stand side by side
     * @return the keys
     */
    public TableKeys withSideBySide(boolean value) {
        return new TableKeys(functions, value);
    }

    /** Rows side by side that an id has. */
    int rows() {
        return sideBySide ? Math.max(1, functions.size()) : 1;
    }

    /**
     * Checks the functions against a table, as a plan does.
     *
     * @throws InvalidArgumentException naming the function
     */
    void check(long rows) {
        if (functions.size() > JindouAbi.JD_MAX_KEY_FUNCTIONS()) {
            throw new InvalidArgumentException(
                    "argument 'keys': expected at most " + JindouAbi.JD_MAX_KEY_FUNCTIONS() + " functions, got " + functions.size());
        }
        for (KeyFunction function : functions) {
            boolean inside = function.firstRow() >= 0 && function.firstRow() <= rows && function.numRows() >= 0
                    && function.numRows() <= rows - function.firstRow();
            boolean empty = function instanceof KeyFunction.Modulo || function instanceof KeyFunction.Hash;
            if (!inside || (empty && numRows(function, rows) == 0)
                    || (function instanceof KeyFunction.Quotient quotient && quotient.divisor() < 1)) {
                throw new InvalidArgumentException(
                        "argument 'keys': expected functions to rows of the table's " + rows + ", got " + function);
            }
        }
    }

    /**
     * The rows that an id chooses of a table, at the front of {@code chosen}; as many as {@link #choices}.
     *
     * @return whether all functions take the id
     */
    boolean choose(long id, long rows, long[] chosen) {
        if (functions.isEmpty()) {
            chosen[0] = id;
            return id >= 0 && id < rows;
        }
        for (int i = 0; i < functions.size(); i++) {
            KeyFunction function = functions.get(i);
            long count = numRows(function, rows);
            long row =
                    switch (function) {
                        case KeyFunction.Row all -> id;
                        case KeyFunction.Modulo modulo -> Math.floorMod(id, count);
                        case KeyFunction.Quotient quotient -> Math.floorDiv(id, quotient.divisor());
                        case KeyFunction.Hash hash -> KeyFunction.Hash.choose(id, hash.seed(), count);
                    };
            if (row < 0 || row >= count) {
                return false;
            }
            chosen[i] = function.firstRow() + row;
        }
        return true;
    }

    /** How many rows an id chooses. */
    int choices() {
        return Math.max(1, functions.size());
    }

    private static long numRows(KeyFunction function, long rows) {
        return function.numRows() == 0 ? rows - function.firstRow() : function.numRows();
    }

    /** The native array of a plan's tables; null when all ids are rows. */
    static MemorySegment of(Arena arena, List<EmbeddingTable> tables) {
        if (tables.stream().allMatch(table -> table.keys().functions().isEmpty())) {
            return MemorySegment.NULL;
        }
        MemorySegment all = jd_table_keys.allocateArray(tables.size(), arena);
        for (int t = 0; t < tables.size(); t++) {
            tables.get(t).keys().write(arena, jd_table_keys.asSlice(all, t));
        }
        return all;
    }

    private void write(Arena arena, MemorySegment target) {
        MemorySegment array = jd_key_function.allocateArray(Math.max(1, functions.size()), arena);
        jd_table_keys.num_functions(target, functions.size());
        jd_table_keys.combine(target, sideBySide ? JindouAbi.JD_KEYS_CONCAT() : JindouAbi.JD_KEYS_SUM());
        jd_table_keys.functions(target, array);
        for (int i = 0; i < functions.size(); i++) {
            MemorySegment function = jd_key_function.asSlice(array, i);
            KeyFunction given = functions.get(i);
            jd_key_function.kind(
                    function,
                    switch (given) {
                        case KeyFunction.Row row -> JindouAbi.JD_KEY_ROW();
                        case KeyFunction.Modulo modulo -> JindouAbi.JD_KEY_MODULO();
                        case KeyFunction.Quotient quotient -> JindouAbi.JD_KEY_QUOTIENT();
                        case KeyFunction.Hash hash -> JindouAbi.JD_KEY_HASH();
                    });
            jd_key_function.first_row(function, given.firstRow());
            jd_key_function.num_rows(function, given.numRows());
            jd_key_function.divisor(function, given instanceof KeyFunction.Quotient quotient ? quotient.divisor() : 0);
            jd_key_function.seed(function, given instanceof KeyFunction.Hash hash ? hash.seed() : 0);
        }
    }
}
