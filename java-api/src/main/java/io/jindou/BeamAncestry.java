package io.jindou;

import java.util.Arrays;
import java.util.Objects;

/**
 * From which slot of each level a beam descends, for the requests of a batch: the table of a {@link BeamSuffix}, kept on the host.
 * Requests may stand at different levels. Not safe for threads.
 *
 * {@snippet file="io/jindou/DocumentationTest.java" region="beam-attention"}
 */
public final class BeamAncestry {
    private final int requests;
    private final int levels;
    private final int slots;
    private final int[] table;
    private final int[] lengths;

    /**
     * Beams that have written nothing yet.
     *
     * @param requests of the batch
     * @param levels tokens a beam may write
     * @param slots beams a request may have
     * @throws IllegalArgumentException when a number is negative
     */
    public BeamAncestry(int requests, int levels, int slots) {
        if (requests < 0 || levels < 0 || slots < 0) {
            throw new IllegalArgumentException(
                    "expected requests, levels and slots of at least 0, got " + requests + ", " + levels + ", " + slots);
        }
        this.requests = requests;
        this.levels = levels;
        this.slots = slots;
        table = new int[Math.multiplyExact(Math.multiplyExact(requests, levels), slots)];
        lengths = new int[requests];
    }

    /**
     * One step of a search: beam w of the request continues beam {@code parents[w]} of the step before, and writes its new row at the
     * level that this returns, in slot w. At the first step nothing is continued, and parents are not looked at.
     *
     * @param request whose beams
     * @param parents one a beam, at most as many as there are slots
     * @return the level at which the beams write
     * @throws IndexOutOfBoundsException when the request is none
     * @throws IllegalArgumentException when all levels are written, there are too many beams, or a parent is no slot
     */
    public int descend(int request, int... parents) {
        Objects.checkIndex(request, requests);
        Objects.requireNonNull(parents, "parents");
        int level = lengths[request];
        if (level == levels) {
            throw new IllegalArgumentException("expected at most " + levels + " steps, request " + request + " has made them");
        }
        if (parents.length > slots) {
            throw new IllegalArgumentException("expected at most " + slots + " beams (slots), got " + parents.length);
        }
        for (int w = 0; level > 0 && w < parents.length; w++) {
            if (parents[w] < 0 || parents[w] >= slots) {
                throw new IllegalArgumentException(
                        "expected parents in 0.." + (slots - 1) + ", got " + parents[w] + " for beam " + w);
            }
        }
        for (int l = 0; l < level; l++) {
            int first = (request * levels + l) * slots;
            int[] before = Arrays.copyOfRange(table, first, first + slots);
            for (int w = 0; w < parents.length; w++) {
                table[first + w] = before[parents[w]];
            }
        }
        int first = (request * levels + level) * slots;
        for (int w = 0; w < parents.length; w++) {
            table[first + w] = w;
        }
        lengths[request]++;
        return level;
    }

    /**
     * Starts a request anew, with nothing written.
     *
     * @param request whose beams
     */
    public void clear(int request) {
        lengths[Objects.checkIndex(request, requests)] = 0;
    }

    /**
     * Levels that a request's beams have written.
     *
     * @param request whose beams
     * @return how many
     */
    public int length(int request) {
        return lengths[Objects.checkIndex(request, requests)];
    }

    /**
     * The slot at a level that a beam descends from.
     *
     * @param request whose beam
     * @param level one that is written
     * @param beam of the last step
     * @return the slot
     */
    public int slot(int request, int level, int beam) {
        Objects.checkIndex(level, length(request));
        return table[(request * levels + level) * slots + Objects.checkIndex(beam, slots)];
    }

    /**
     * Writes the table to a device.
     *
     * @param stream orders the writes
     * @param ancestry {@code [requests, levels, slots]} {@link DType#I32}
     * @param suffixLengths {@code [requests]} {@link DType#I32}
     */
    public void write(Stream stream, Tensor ancestry, Tensor suffixLengths) {
        ancestry.write(stream, table);
        suffixLengths.write(stream, lengths);
    }
}
