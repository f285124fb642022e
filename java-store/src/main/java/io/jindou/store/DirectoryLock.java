package io.jindou.store;

import java.io.IOException;
import java.nio.channels.FileChannel;
import java.nio.file.FileAlreadyExistsException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.nio.file.attribute.BasicFileAttributes;
import java.util.HashSet;
import java.util.Set;

/**
 * One owner of a directory at a time, taken before anything in it is changed: a lock of the operating system on the file
 * {@code TABLE.lock}, which ends with the process. RocksDB's own lock lies a directory deeper and comes too late: leftovers are deleted
 * before it is taken.
 */
final class DirectoryLock implements AutoCloseable {
    private static final String NAME = "TABLE.lock";
    /** Files locked by this process. It must not open one of them again: to close any descriptor of a file ends its locks on it. */
    private static final Set<Object> HELD = new HashSet<>(); // guarded by itself

    private final Object file;
    private final FileChannel channel;

    private DirectoryLock(Object file, FileChannel channel) {
        this.file = file;
        this.channel = channel;
    }

    /** Refuses at once when another process, or another table of this one, holds it. */
    static DirectoryLock take(Path directory) throws IOException {
        Path path = directory.resolve(NAME);
        synchronized (HELD) {
            try {
                Files.createFile(path);
            } catch (FileAlreadyExistsException e) {
                // Of an earlier opening; it stays for good.
            }
            Object inode = Files.readAttributes(path, BasicFileAttributes.class).fileKey();
            Object file = inode != null ? inode : path.toRealPath();
            if (HELD.contains(file)) {
                throw new IOException(directory + ": the table is open already, in this process");
            }
            FileChannel channel = FileChannel.open(path, StandardOpenOption.WRITE);
            try {
                if (channel.tryLock() == null) {
                    throw new IOException(directory + ": the table is open already, in another process");
                }
            } catch (IOException | RuntimeException e) {
                channel.close();
                throw e;
            }
            HELD.add(file);
            return new DirectoryLock(file, channel);
        }
    }

    @Override
    public void close() {
        synchronized (HELD) {
            if (HELD.remove(file)) {
                try {
                    channel.close();
                } catch (IOException e) {
                    // The lock ends with the descriptor, which is gone either way.
                }
            }
        }
    }
}
