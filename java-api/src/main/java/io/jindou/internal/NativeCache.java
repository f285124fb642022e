package io.jindou.internal;

import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.nio.channels.FileChannel;
import java.nio.channels.FileLock;
import java.nio.channels.OverlappingFileLockException;
import java.nio.file.FileAlreadyExistsException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.StandardOpenOption;
import java.nio.file.attribute.FileTime;
import java.nio.file.attribute.PosixFilePermission;
import java.nio.file.attribute.PosixFilePermissions;
import java.security.DigestInputStream;
import java.security.MessageDigest;
import java.time.Duration;
import java.time.Instant;
import java.util.Comparator;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.stream.Stream;

/**
 * The user's directory of extracted native libraries: one folder for each content, named by its hash.
 *
 * <p>Processes may start at the same time: a library is written under a name of its own and renamed when it is complete and its
 * sum is right, so a file that is there is whole; a lock only spares the others the work. Every process holds a shared lock on
 * {@code in-use.lock} of its folder as long as it lives, since plug-ins are loaded late; folders that nobody holds and nobody has used
 * for a while are deleted.
 */
final class NativeCache {
    private static final String DIRECTORY_PROPERTY = "jindou.cache.dir";
    private static final String IN_USE = "in-use.lock";
    private static final String EXTRACTING = "extracting.lock";
    private static final String COPY_PREFIX = "copy-";
    private static final Duration STALE = Duration.ofDays(14);
    private static final Duration STALE_COPY = Duration.ofMinutes(10);

    /** Never released: the operating system does it when the process ends. */
    private static final Set<FileChannel> HELD = java.util.concurrent.ConcurrentHashMap.newKeySet();

    private NativeCache() {}

    /** The folder with the given libraries, extracted if it was not there. */
    static Path extract(String key, Map<String, NativeJar.Resource> resources) throws IOException {
        Path root = root();
        Path folder = privateDirectory(root.resolve(key));
        hold(folder);
        if (!complete(folder, resources)) {
            try (FileChannel channel = channel(folder.resolve(EXTRACTING))) {
                lockIfPossible(channel);
                for (var entry : resources.entrySet()) {
                    Path target = folder.resolve(entry.getKey());
                    if (!Files.exists(target)) {
                        write(entry.getValue(), target);
                    }
                }
            }
        }
        deleteStale(root, folder);
        return folder;
    }

    /** A folder of this class loader's own with the libraries of another. */
    static Path privateCopy(Path libraries) throws IOException {
        Path root = root();
        Path folder = Files.createTempDirectory(root, COPY_PREFIX);
        hold(folder);
        try (Stream<Path> files = Files.list(libraries)) {
            for (Path file : (Iterable<Path>) files.filter(f -> f.toString().endsWith(".so"))::iterator) {
                Files.copy(file, folder.resolve(file.getFileName().toString()));
            }
        }
        return folder;
    }

    private static Path root() throws IOException {
        String given = System.getProperty(DIRECTORY_PROPERTY);
        if (given != null && !given.isEmpty()) {
            return privateDirectory(Path.of(given).toAbsolutePath());
        }
        String xdg = System.getenv("XDG_CACHE_HOME");
        Path cache = xdg != null && xdg.startsWith("/") ? Path.of(xdg) : Path.of(System.getProperty("user.home"), ".cache");
        try {
            return privateDirectory(cache.toAbsolutePath().resolve("jindou"));
        } catch (IOException e) {
            // No home, or one that cannot be written: containers, service accounts.
            Path temporary = Path.of(System.getProperty("java.io.tmpdir"), "jindou-" + System.getProperty("user.name"));
            return privateDirectory(temporary.toAbsolutePath());
        }
    }

    /** A directory that only this user can write: what lies in it is going to be run. */
    private static Path privateDirectory(Path directory) throws IOException {
        Path parent = directory.getParent();
        if (parent != null) {
            Files.createDirectories(parent);
        }
        try {
            Files.createDirectory(
                    directory, PosixFilePermissions.asFileAttribute(PosixFilePermissions.fromString("rwx------")));
        } catch (FileAlreadyExistsException e) {
            if (!Files.isDirectory(directory)) {
                throw e;
            }
        }
        Set<PosixFilePermission> permissions = Files.getPosixFilePermissions(directory);
        if (permissions.contains(PosixFilePermission.GROUP_WRITE) || permissions.contains(PosixFilePermission.OTHERS_WRITE)) {
            throw new IOException(directory + " can be written by other users (expected permissions rwx------); give another"
                    + " directory as -D" + DIRECTORY_PROPERTY);
        }
        Path probe = Files.createTempFile(directory, "probe", ".tmp");
        try {
            if (!Files.getOwner(probe).equals(Files.getOwner(directory))) {
                throw new IOException(directory + " belongs to another user; give another directory as -D" + DIRECTORY_PROPERTY);
            }
        } finally {
            Files.delete(probe);
        }
        return directory;
    }

    private static boolean complete(Path folder, Map<String, NativeJar.Resource> resources) {
        return resources.keySet().stream().allMatch(file -> Files.exists(folder.resolve(file)));
    }

    private static void write(NativeJar.Resource resource, Path target) throws IOException {
        Path part = Files.createTempFile(target.getParent(), target.getFileName().toString(), ".tmp");
        try {
            MessageDigest digest = NativeJar.sha256();
            try (InputStream in = new DigestInputStream(resource.open(), digest);
                    OutputStream out = Files.newOutputStream(part)) {
                in.transferTo(out);
            }
            String actual = HexFormat.of().formatHex(digest.digest());
            if (!actual.equalsIgnoreCase(resource.sha256())) {
                throw new IOException(
                        resource.url() + " is damaged: expected SHA-256 " + resource.sha256() + ", got " + actual);
            }
            Files.setPosixFilePermissions(part, PosixFilePermissions.fromString("rwx------"));
            Files.move(part, target, StandardCopyOption.ATOMIC_MOVE);
        } finally {
            Files.deleteIfExists(part);
        }
    }

    private static void hold(Path folder) throws IOException {
        Path file = folder.resolve(IN_USE);
        FileChannel channel = channel(file);
        HELD.add(channel);
        Files.setLastModifiedTime(file, FileTime.from(Instant.now()));
        try {
            channel.lock(0, Long.MAX_VALUE, true);
        } catch (IOException | OverlappingFileLockException e) {
            // File systems without locks, or another class loader of this process holds it: only cleaning is affected.
            return;
        }
    }

    private static void deleteStale(Path root, Path current) {
        List<Path> folders;
        try (Stream<Path> entries = Files.list(root)) {
            folders = entries.filter(f -> !f.equals(current) && Files.isDirectory(f)).toList();
        } catch (IOException e) {
            return;
        }
        for (Path folder : folders) {
            String name = folder.getFileName().toString();
            boolean copy = name.startsWith(COPY_PREFIX);
            if (!copy && !name.matches("[0-9a-f]{16}")) {
                continue;
            }
            Path inUse = folder.resolve(IN_USE);
            try {
                Instant used = Files.getLastModifiedTime(Files.exists(inUse) ? inUse : folder).toInstant();
                if (used.isAfter(Instant.now().minus(copy ? STALE_COPY : STALE))) {
                    continue;
                }
                try (FileChannel channel = channel(inUse);
                        FileLock lock = channel.tryLock()) {
                    if (lock != null) {
                        delete(folder);
                    }
                }
            } catch (IOException | OverlappingFileLockException e) {
                // Cleaning is a courtesy; the next process tries again.
                continue;
            }
        }
    }

    private static void delete(Path folder) throws IOException {
        try (Stream<Path> tree = Files.walk(folder)) {
            for (Path path : (Iterable<Path>) tree.sorted(Comparator.reverseOrder())::iterator) {
                Files.deleteIfExists(path);
            }
        }
    }

    private static FileChannel channel(Path file) throws IOException {
        return FileChannel.open(file, StandardOpenOption.CREATE, StandardOpenOption.READ, StandardOpenOption.WRITE);
    }

    /** Held until the channel is closed. */
    private static void lockIfPossible(FileChannel channel) {
        try {
            channel.lock();
        } catch (IOException | OverlappingFileLockException e) {
            // Without a lock several processes write the same bytes; the last to rename wins.
            return;
        }
    }
}
