package io.jindou.store;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CancellationException;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;

class FetchersTest {
    private static final int MOST = 5;

    private final Fetchers fetchers = new Fetchers(MOST);
    private final CountDownLatch goOn = new CountDownLatch(1);
    private final List<String> order = new ArrayList<>(); // guarded by itself
    private final List<CompletableFuture<Void>> begun = new ArrayList<>();

    /** Guesses that have all turns and stay until they are let go. */
    private void takeAllTurns() throws InterruptedException {
        CountDownLatch all = new CountDownLatch(Fetchers.TURNS);
        for (int i = 0; i < Fetchers.TURNS; i++) {
            begun.add(fetchers.guess(() -> {
                all.countDown();
                try {
                    goOn.await();
                } catch (InterruptedException e) {
                    throw new IllegalStateException(e);
                }
            }));
        }
        assertTrue(all.await(60, TimeUnit.SECONDS));
    }

    private Fetchers.Reading noted(String name) {
        return () -> {
            synchronized (order) {
                order.add(name);
            }
        };
    }

    @AfterEach
    void end() {
        goOn.countDown();
        fetchers.close();
    }

    @Test
    void the_oldest_guess_that_waits_goes_for_a_new_one() throws Exception {
        takeAllTurns();
        List<CompletableFuture<Void>> guesses = new ArrayList<>();
        for (int i = 0; i < MOST + 3; i++) {
            guesses.add(fetchers.guess(noted("" + i)));
        }
        for (int i = 0; i < 3; i++) {
            assertDropped(guesses.get(i));
        }
        goOn.countDown();
        for (int i = 3; i < MOST + 3; i++) {
            guesses.get(i).get(60, TimeUnit.SECONDS);
        }
        assertEquals(MOST, order.size(), order.toString());
        for (CompletableFuture<Void> each : begun) {
            each.get(60, TimeUnit.SECONDS);
        }
    }

    @Test
    void promises_come_first_and_as_many_as_there_are() throws Exception {
        takeAllTurns();
        List<CompletableFuture<Void>> all = new ArrayList<>();
        all.add(fetchers.guess(noted("guess")));
        for (int i = 0; i < 200; i++) {
            all.add(fetchers.promise(noted("promise")));
        }
        goOn.countDown();
        CompletableFuture.allOf(all.toArray(CompletableFuture[]::new)).get(60, TimeUnit.SECONDS);
        assertEquals(201, order.size());
        // Of readings beside each other the one that began first may be noted after others, but not after most.
        assertTrue(order.indexOf("guess") >= 200 - Fetchers.TURNS, "guess at " + order.indexOf("guess"));
    }

    /** It waits for guesses that have begun and for all promises, and for nothing else. */
    @Test
    void close_drops_the_guesses_that_wait() throws Exception {
        takeAllTurns();
        CompletableFuture<Void> guess = fetchers.guess(noted("guess")), promise = fetchers.promise(noted("promise"));
        CountDownLatch never = new CountDownLatch(1);
        guess.exceptionally(e -> {
            try {
                never.await(); // who learns that it was dropped may take its time
            } catch (InterruptedException interrupted) {
                throw new IllegalStateException(interrupted);
            }
            return null;
        });
        Thread closing = new Thread(fetchers::close);
        closing.start();
        assertDropped(guess);
        assertTrue(closing.isAlive());
        assertNull(fetchers.guess(noted("late")));
        assertNull(fetchers.promise(noted("late")));
        goOn.countDown();
        promise.get(60, TimeUnit.SECONDS);
        closing.join(60_000);
        assertTrue(!closing.isAlive());
        assertEquals(List.of("promise"), order);
        never.countDown();
    }

    @Test
    void a_guess_that_was_cancelled_does_not_begin() throws Exception {
        takeAllTurns();
        CompletableFuture<Void> cancelled = fetchers.guess(noted("cancelled")), other = fetchers.guess(noted("other"));
        assertTrue(cancelled.cancel(false));
        goOn.countDown();
        other.get(60, TimeUnit.SECONDS);
        fetchers.close();
        assertEquals(List.of("other"), order);
    }

    /** Who asks again for what was dropped drops another, and so on; but not deeper and deeper on one stack. */
    @Test
    void what_is_dropped_may_be_asked_for_again() throws Exception {
        takeAllTurns();
        AtomicInteger left = new AtomicInteger(5_000);
        CompletableFuture<Void> done = new CompletableFuture<>();
        for (int i = 0; i < MOST + 1; i++) {
            again(left, done);
        }
        done.get(60, TimeUnit.SECONDS);
    }

    private void again(AtomicInteger left, CompletableFuture<Void> done) {
        fetchers.guess(noted("guess")).whenComplete((nothing, dropped) -> {
            if (left.decrementAndGet() > 0) {
                again(left, done);
            } else {
                done.complete(null);
            }
        });
    }

    @Test
    void a_failure_is_the_answer() {
        CompletableFuture<Void> failed = fetchers.promise(() -> {
            throw new java.io.IOException("no");
        });
        ExecutionException e = assertThrows(ExecutionException.class, () -> failed.get(60, TimeUnit.SECONDS));
        assertEquals("no", e.getCause().getCause().getMessage());
    }

    private static void assertDropped(CompletableFuture<Void> guess) throws Exception {
        Throwable e = guess.handle((nothing, failure) -> failure).get(60, TimeUnit.SECONDS);
        assertEquals(CancellationException.class, e.getClass());
        assertTrue(e.getMessage().contains("dropped before it began"), e.getMessage());
        assertTrue(guess.isCancelled());
    }
}
