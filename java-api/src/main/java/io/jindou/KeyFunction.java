package io.jindou;

/**
 * How an id chooses a row of an {@link EmbeddingTable}, among rows {@code firstRow} to {@code firstRow + numRows - 1} ({@code numRows} 0: to
 * the last row of the table). See {@link TableKeys}.
 */
public sealed interface KeyFunction {

    /**
     * The rows that a function chooses from: the first.
     *
     * @return a row of the table
     */
    long firstRow();

    /**
     * How many they are; 0: to the last row of the table.
     *
     * @return rows
     */
    long numRows();

    /**
     * The id is the row: ids of 0 to {@code numRows - 1}.
     *
     * @param firstRow the row of id 0
     * @param numRows how many; 0: to the last of the table
     */
    record Row(long firstRow, long numRows) implements KeyFunction {}

    /**
     * {@code id mod numRows}, of any id and never negative.
     *
     * @param firstRow the row of id 0
     * @param numRows how many; 0: to the last of the table
     */
    record Modulo(long firstRow, long numRows) implements KeyFunction {}

    /**
     * {@code floor(id / divisor)}: ids of 0 to {@code divisor * numRows - 1}.
     *
     * @param divisor at least 1
     * @param firstRow the row of id 0
     * @param numRows how many; 0: to the last of the table
     */
    record Quotient(long divisor, long firstRow, long numRows) implements KeyFunction {}

    /**
     * {@code mix(id ^ mix(seed)) mod numRows} of any id, as unsigned 64-bit numbers; {@code mix} is MurmurHash3's finaliser, {@link #mix}.
     *
     * @param seed functions of different seeds are independent
     * @param firstRow the first row it chooses from
     * @param numRows how many; 0: to the last of the table
     */
    record Hash(long seed, long firstRow, long numRows) implements KeyFunction {
        /** A number of 0 to {@code count - 1}. */
        static long choose(long id, long seed, long count) {
            return Long.remainderUnsigned(mix(id ^ mix(seed)), count);
        }
    }

    /**
     * MurmurHash3's 64-bit finaliser.
     *
     * @param x any number
     * @return a number every bit of which depends on every bit of x
     */
    static long mix(long x) {
        x ^= x >>> 33;
        x *= 0xff51afd7ed558ccdL;
        x ^= x >>> 33;
        x *= 0xc4ceb9fe1a85ec53L;
        return x ^ (x >>> 33);
    }
}
