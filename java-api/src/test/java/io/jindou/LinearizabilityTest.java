package io.jindou;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.jindou.Linearizability.Timed;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.Test;

/** The judge of histories, on such as are known to be right or wrong: of a register that is read and written. */
class LinearizabilityTest {
    private record Access(boolean writes, int value) {}

    private static Timed<Access> write(long begun, long ended, int value) {
        return new Timed<>(begun, ended, new Access(true, value));
    }

    private static Timed<Access> read(long begun, long ended, int value) {
        return new Timed<>(begun, ended, new Access(false, value));
    }

    private static Integer next(Integer state, Access access) {
        return access.writes ? Integer.valueOf(access.value) : state == access.value ? state : null;
    }

    private static String violation(List<Timed<Access>> history) {
        return Linearizability.violation(history, 0, LinearizabilityTest::next, access -> !access.writes);
    }

    @Test
    void good_histories_pass() {
        assertNull(violation(List.of()));
        assertNull(violation(List.of(read(1, 2, 0), write(3, 4, 7), read(5, 6, 7))));
        // Reads beside a write may see what was and what will be.
        assertNull(violation(List.of(write(1, 10, 7), read(2, 3, 0), read(4, 5, 7), read(6, 7, 7))));
        // A read that begins first and ends last may come after what lies within.
        assertNull(violation(List.of(read(1, 10, 2), write(2, 3, 1), write(4, 5, 2))));
        assertNull(violation(List.of(write(1, 6, 1), write(2, 7, 2), read(3, 4, 2), read(5, 8, 1))));
    }

    @Test
    void bad_histories_fail() {
        assertNotNull(violation(List.of(read(1, 2, 7), write(3, 4, 7))), "read before it was written");
        assertNotNull(violation(List.of(write(1, 2, 7), read(3, 4, 0))), "a stale read");
        assertNotNull(violation(List.of(write(1, 10, 7), read(2, 3, 7), read(4, 5, 0))), "new, then old");
        assertNotNull(violation(List.of(write(1, 2, 1), write(3, 4, 2), read(5, 6, 1))), "a lost write");
        assertNotNull(violation(List.of(write(1, 6, 1), write(2, 7, 2), read(8, 9, 1), read(10, 11, 2))), "two orders at once");
        String message = violation(List.of(write(1, 2, 7), read(3, 4, 5)));
        assertTrue(message.contains("after 1 of 2 calls, in the state 7") && message.contains("value=5"), message);
    }

    /** Small random histories, about half of them wrong, against every order there is. */
    @Test
    void agrees_with_trying_all_orders() {
        Random random = new Random(1);
        int wrong = 0, histories = 3000;
        for (int h = 0; h < histories; h++) {
            int calls = 2 + random.nextInt(5);
            List<Long> moments = new ArrayList<>();
            for (long t = 0; t < 2 * calls; t++) {
                moments.add(t);
            }
            java.util.Collections.shuffle(moments, random);
            List<Timed<Access>> history = new ArrayList<>();
            for (int i = 0; i < calls; i++) {
                long a = moments.get(2 * i), b = moments.get(2 * i + 1);
                history.add(new Timed<>(Math.min(a, b), Math.max(a, b), new Access(random.nextInt(3) == 0, random.nextInt(3))));
            }
            boolean possible = anyOrder(history, 0);
            assertEquals(possible, violation(history) == null, () -> history.toString());
            wrong += possible ? 0 : 1;
        }
        assertTrue(wrong > histories / 5 && wrong < histories * 4 / 5, wrong + " wrong ones");
    }

    private static boolean anyOrder(List<Timed<Access>> left, int state) {
        if (left.isEmpty()) {
            return true;
        }
        for (Timed<Access> first : left) {
            boolean mayComeFirst = left.stream().allMatch(other -> other == first || first.begun() < other.ended());
            Integer then = mayComeFirst ? next(state, first.call()) : null;
            if (then != null) {
                List<Timed<Access>> others = new ArrayList<>(left);
                others.remove(first);
                if (anyOrder(others, then)) {
                    return true;
                }
            }
        }
        return false;
    }

    /** Long histories made from an order: each call spread around its moment. One read changed to what was never there is found. */
    @Test
    void long_histories_of_many_at_once() {
        Random random = new Random(2);
        List<Timed<Access>> history = new ArrayList<>();
        int value = 0, calls = 5000;
        for (int i = 0; i < calls; i++) {
            boolean writes = random.nextBoolean();
            value = writes ? random.nextInt(1000) : value;
            long moment = 100_000L * (i + 1);
            history.add(new Timed<>(moment - random.nextInt(125_000) * 2L, moment + random.nextInt(125_000) * 2L + 1, new Access(writes, value)));
        }
        assertNull(violation(history));
        history.set(calls / 2, new Timed<>(history.get(calls / 2).begun(), history.get(calls / 2).ended(), new Access(false, -1)));
        assertNotNull(violation(history));
    }
}
