package io.jindou;

import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.BitSet;
import java.util.Comparator;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.function.BiFunction;
import java.util.function.Predicate;

/**
 * Whether calls that overlapped could have been made one after the other: each at some moment between its begin and its end, with the
 * results that it had. The search of Wing and Gong (1993), which tries what may come next and takes it back, with Lowe's (2017) memory of what
 * it has tried: the same calls in another order that leave the same state are not looked at again. A call that only reads and may come next
 * comes next: whatever order there is with it later, there is one with it now.
 */
final class Linearizability {
    private Linearizability() {}

    /**
     * A call with its results.
     *
     * @param begun a moment before it was made: a number that no other moment has
     * @param ended a moment after its results were there
     */
    record Timed<C>(long begun, long ended, C call) {}

    /** A begin or an end in the list of all moments. */
    private static final class Moment<C> {
        final Timed<C> of;
        final int number;
        final Moment<C> end; // of a begin
        Moment<C> before;
        Moment<C> after;

        Moment(Timed<C> of, int number, Moment<C> end) {
            this.of = of;
            this.number = number;
            this.end = end;
        }

        long time() {
            return end != null ? of.begun : of.ended;
        }

        void takeOut() {
            before.after = after;
            if (after != null) {
                after.before = before;
            }
        }

        void putBack() {
            before.after = this;
            if (after != null) {
                after.before = this;
            }
        }
    }

    private record Tried(BitSet done, Object state) {}

    private record Step<S, C>(Moment<C> begin, S before) {}

    /**
     * Looks for an order.
     *
     * @param history in any order
     * @param initial the state before all calls; states are compared by {@code equals}
     * @param next the state after a call with these results in a state, or null where it could not have had them
     * @param onlyReads whether a call with these results leaves every state as it is
     * @return null when there is one; else how far the best got
     */
    static <S, C> String violation(List<Timed<C>> history, S initial, BiFunction<S, C, S> next, Predicate<C> onlyReads) {
        Moment<C> head = moments(history);
        Set<Tried> tried = new HashSet<>();
        ArrayDeque<Step<S, C>> taken = new ArrayDeque<>();
        BitSet done = new BitSet(history.size());
        S state = initial;
        int most = -1;
        String stuck = null;
        Moment<C> at = head.after;
        while (head.after != null) {
            if (at.end != null) {
                S then = next.apply(state, at.of.call);
                if (then != null) {
                    done.set(at.number);
                    if (tried.add(new Tried((BitSet) done.clone(), then))) {
                        taken.push(new Step<>(at, state));
                        state = then;
                        at.takeOut();
                        at.end.takeOut();
                        at = head.after;
                        continue;
                    }
                    done.clear(at.number);
                }
                if (then == null || !onlyReads.test(at.of.call)) {
                    at = at.after;
                    continue;
                }
            }
            // This call has ended, and none that may come before its end follows, or leads anywhere.
            if (taken.size() > most) {
                most = taken.size();
                stuck = "after " + most + " of " + history.size() + " calls, in the state " + state + ", none of these follows: " + upTo(head, at);
            }
            Step<S, C> last;
            do {
                if (taken.isEmpty()) {
                    return stuck;
                }
                last = taken.pop();
                state = last.before;
                done.clear(last.begin.number);
                last.begin.end.putBack();
                last.begin.putBack();
            } while (onlyReads.test(last.begin.of.call));
            at = last.begin.after;
        }
        return null;
    }

    private static <C> Moment<C> moments(List<Timed<C>> history) {
        List<Moment<C>> all = new ArrayList<>();
        for (Timed<C> each : history) {
            Moment<C> end = new Moment<>(each, all.size() / 2, null);
            all.add(new Moment<>(each, all.size() / 2, end));
            all.add(end);
        }
        all.sort(Comparator.comparingLong(Moment::time));
        Moment<C> head = new Moment<>(null, -1, null);
        Moment<C> last = head;
        for (Moment<C> each : all) {
            last.after = each;
            each.before = last;
            last = each;
        }
        return head;
    }

    private static <C> List<Timed<C>> upTo(Moment<C> head, Moment<C> end) {
        List<Timed<C>> calls = new ArrayList<>();
        for (Moment<C> each = head.after; each != end; each = each.after) {
            calls.add(each.of);
        }
        return calls;
    }
}
