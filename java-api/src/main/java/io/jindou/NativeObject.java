package io.jindou;

import java.lang.ref.Cleaner;

/**
 * A Java object that owns a handle of the native library.
 *
 * <p>The handle is a number that stays as it is when the object is closed: the native library recognises closed handles itself
 * and never issues one twice, so a call that races with a close is safe and reports {@link ClosedException}.
 */
abstract class NativeObject implements AutoCloseable {
    private static final Cleaner CLEANER = Cleaner.create();

    final long handle;
    private final Release release;
    private final Cleaner.Cleanable cleanable;

    NativeObject(long handle, Destroy destroy) {
        this.handle = handle;
        this.release = new Release(handle, destroy, getClass().getSimpleName());
        this.cleanable = CLEANER.register(this, release);
    }

    /**
     * Releases the object. Closing it again does nothing. Calls under way in other threads finish; later ones throw
     * {@link ClosedException}.
     */
    @Override
    public void close() {
        release.closed = true;
        cleanable.clean();
    }

    /**
     * Whether {@link #close()} was called.
     *
     * @return true when it was
     */
    public final boolean isClosed() {
        return release.closed;
    }

    /** The handle of a required argument. */
    static long handle(NativeObject object, String argument) {
        if (object == null) {
            throw missing(argument);
        }
        return object.handle;
    }

    /** The handle of an optional argument; 0 for null. */
    static long handleOrNone(NativeObject object) {
        return object == null ? 0 : object.handle;
    }

    static NullPointerException missing(String argument) {
        return new NullPointerException("argument '" + argument + "': expected an object, got null");
    }

    /** One of the ABI's destroy functions. */
    @FunctionalInterface
    interface Destroy {
        int call(long handle, java.lang.foreign.MemorySegment error);
    }

    /** What is left to do when the object is closed or forgotten; refers to nothing of the object. */
    private static final class Release implements Runnable {
        private static final String WARN = "jindou.warn.unclosed";

        private final long handle;
        private final Destroy destroy;
        private final String kind;
        private volatile boolean closed;

        Release(long handle, Destroy destroy, String kind) {
            this.handle = handle;
            this.destroy = destroy;
            this.kind = kind;
        }

        @Override
        public void run() {
            boolean forgotten = !closed;
            if (forgotten && Boolean.getBoolean(WARN)) {
                System.getLogger("io.jindou").log(
                        System.Logger.Level.WARNING, "never closed: {0} (released by the garbage collector)", kind);
            }
            Call call = Call.begin();
            try {
                int status = destroy.call(handle, call.error);
                if (status != 0 && !forgotten && !Failures.isClosed(status)) {
                    throw Failures.of(call.error);
                }
            } finally {
                call.end();
            }
        }
    }
}
