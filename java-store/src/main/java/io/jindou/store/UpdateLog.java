package io.jindou.store;

import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.TreeMap;

/**
 * Which keys were updated while rows were on their way from a lower tier to a cache.
 *
 * <p>A fetch reads a row below and then puts it into a cache. An update in between has written the new row below and found nothing to
 * replace in the cache, and the old row would then stay there for good. So a fetch notes the time when it starts, and before it fills a
 * cache asks which keys have been updated since, or are being updated: those it hands out but does not cache. Asking and filling,
 * beginning an update, and ending one with its writes to the caches are each done under {@link #caches}, which takes as long as a cache does;
 * fetches start and end without it.
 *
 * <p>Updates of one key beside each other reach the disk in an order that nobody here knows. So neither puts its row into a cache: each
 * takes the key out when it ends, and a lookup that starts after the last of them brings back what the disk has. That leaves the disk's
 * writes beside each other, so that they share a wait for the disk.
 */
final class UpdateLog {
    /** Held by who fills caches or writes to them, and by an update that begins. */
    final Object caches = new Object();

    /** Keys under update. */
    final class Update {
        private final Set<Long> keys;
        private final Set<Long> contended = new HashSet<>();
        private long ended = Long.MAX_VALUE;

        private Update(Set<Long> keys) {
            this.keys = keys;
        }

        private boolean isUnderWay() {
            return ended == Long.MAX_VALUE;
        }

        /** Whether another update of this key was under way at the same time; asked under {@link #caches}. */
        boolean isContended(long key) {
            return contended.contains(key);
        }
    }

    private final List<Update> updates = new ArrayList<>();
    private final TreeMap<Long, Integer> fetches = new TreeMap<>(); // start to how many
    private long clock;

    /** Before the lower tiers are written. */
    synchronized Update begin(long[] keys) {
        Set<Long> set = HashSet.newHashSet(keys.length);
        for (long key : keys) {
            set.add(key);
        }
        Update update = new Update(set);
        for (Update other : updates) {
            if (other.isUnderWay()) {
                for (Long key : set) {
                    if (other.keys.contains(key)) {
                        other.contended.add(key);
                        update.contended.add(key);
                    }
                }
            }
        }
        updates.add(update);
        return update;
    }

    /** After the caches were written; in the same hold of the lock. */
    synchronized void end(Update update) {
        update.ended = ++clock;
        forget();
    }

    synchronized long enter() {
        fetches.merge(clock, 1, Integer::sum);
        return clock;
    }

    synchronized void leave(long start) {
        fetches.computeIfPresent(start, (time, count) -> count == 1 ? null : count - 1);
        forget();
    }

    /** Puts -1 in the place of those of the first `count` keys whose rows, read below since `start`, may be old by now. */
    synchronized void takeOutUncertain(long[] keys, int count, long start) {
        for (Update update : updates) {
            if (update.ended > start) {
                for (int i = 0; i < count; i++) {
                    if (update.keys.contains(keys[i])) {
                        keys[i] = -1;
                    }
                }
            }
        }
    }

    /** Updates that ended before every fetch under way concern nobody. */
    private void forget() {
        long oldest = fetches.isEmpty() ? clock : fetches.firstKey();
        updates.removeIf(update -> update.ended <= oldest);
    }
}
