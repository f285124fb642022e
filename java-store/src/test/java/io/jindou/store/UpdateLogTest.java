package io.jindou.store;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import org.junit.jupiter.api.Test;

class UpdateLogTest {
    @Test
    void updates_beside_each_other_contend_for_the_keys_that_they_share() {
        UpdateLog log = new UpdateLog();
        UpdateLog.Update first = log.begin(new long[] {1, 2, 3}), second = log.begin(new long[] {3, 4});
        assertTrue(first.isContended(3) && second.isContended(3));
        assertFalse(first.isContended(1) || first.isContended(2) || second.isContended(4));
        log.end(first);
        UpdateLog.Update third = log.begin(new long[] {1, 4});
        assertFalse(third.isContended(1), "the first has ended");
        assertTrue(third.isContended(4) && second.isContended(4), "the second has not");
    }

    @Test
    void a_row_read_before_an_update_ended_is_uncertain() {
        UpdateLog log = new UpdateLog();
        UpdateLog.Update first = log.begin(new long[] {1}), second = log.begin(new long[] {1});
        long start = log.enter();
        log.end(first);
        assertTrue(isUncertain(log, 1, start), "both");
        long between = log.enter();
        assertTrue(isUncertain(log, 1, between), "the second is under way");
        log.end(second);
        assertTrue(isUncertain(log, 1, between));
        long after = log.enter();
        assertFalse(isUncertain(log, 1, after));
        assertFalse(isUncertain(log, 2, start));
    }

    private static boolean isUncertain(UpdateLog log, long key, long start) {
        long[] keys = {key, key + 100};
        log.takeOutUncertain(keys, 1, start);
        assertEquals(key + 100, keys[1]);
        return keys[0] == -1;
    }
}
