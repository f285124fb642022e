package io.jindou;

import java.io.IOException;
import java.nio.channels.FileChannel;
import java.nio.file.FileAlreadyExistsException;
import java.nio.file.Files;
import java.nio.file.LinkOption;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.StandardOpenOption;
import java.nio.file.attribute.FileAttribute;
import java.nio.file.attribute.PosixFileAttributeView;
import java.nio.file.attribute.PosixFileAttributes;
import java.nio.file.attribute.PosixFilePermission;
import java.nio.file.attribute.PosixFilePermissions;
import java.util.EnumSet;
import java.util.Set;
import java.util.concurrent.ThreadLocalRandom;

/**
 * Replaces a file at once when everything is written, or not at all. Who may read it is as if it had been written in place: a new file has the
 * permissions that the umask leaves, one that was there keeps its own, its group and, where this process may set it, its owner.
 */
final class Replacement {
    private static final FileAttribute<?>[] PRIVATE = {
        PosixFilePermissions.asFileAttribute(PosixFilePermissions.fromString("rw-------"))
    };

    private Replacement() {}

    interface Content {
        void writeTo(FileChannel channel) throws IOException;
    }

    static void write(Path file, Content content) throws IOException {
        PosixFileAttributes old = attributes(file);
        Path part = create(file, old != null);
        try {
            try (FileChannel channel = FileChannel.open(part, StandardOpenOption.WRITE)) {
                content.writeTo(channel);
                if (old != null) {
                    permit(part, old);
                }
                channel.force(true);
            }
            Files.move(part, file, StandardCopyOption.ATOMIC_MOVE, StandardCopyOption.REPLACE_EXISTING);
        } finally {
            Files.deleteIfExists(part);
        }
    }

    /** An empty file beside it. Private: the rows of a file that few may read are nobody else's while they are written either. */
    private static Path create(Path file, boolean isPrivate) throws IOException {
        FileAttribute<?>[] first = isPrivate ? PRIVATE : new FileAttribute<?>[0];
        while (true) {
            String number = Long.toUnsignedString(ThreadLocalRandom.current().nextLong());
            try {
                return Files.createFile(file.resolveSibling(file.getFileName() + number + ".tmp"), first);
            } catch (FileAlreadyExistsException e) {
                continue; // of another writer
            }
        }
    }

    /** Of the file that is replaced; null: there is none, or the file system knows no permissions. A link is replaced, not what it points to. */
    private static PosixFileAttributes attributes(Path file) throws IOException {
        try {
            PosixFileAttributes old = Files.readAttributes(file, PosixFileAttributes.class, LinkOption.NOFOLLOW_LINKS);
            return old.isRegularFile() ? old : null;
        } catch (NoSuchFileException | UnsupportedOperationException e) {
            return null;
        }
    }

    private static void permit(Path part, PosixFileAttributes old) throws IOException {
        PosixFileAttributeView view = Files.getFileAttributeView(part, PosixFileAttributeView.class);
        Set<PosixFilePermission> permissions = old.permissions();
        if (!view.readAttributes().owner().equals(old.owner())) {
            try {
                view.setOwner(old.owner());
            } catch (IOException e) {
                // only root may: the file is this process's then
            }
        }
        if (!view.readAttributes().group().equals(old.group())) {
            try {
                view.setGroup(old.group());
            } catch (IOException e) {
                permissions = beforeAnotherGroup(permissions); // this process is not of that group
            }
        }
        if (!view.readAttributes().permissions().equals(permissions)) {
            view.setPermissions(permissions);
        }
    }

    /** A group that the file was not shared with gets what all others have. */
    static Set<PosixFilePermission> beforeAnotherGroup(Set<PosixFilePermission> permissions) {
        Set<PosixFilePermission> result = EnumSet.noneOf(PosixFilePermission.class);
        for (PosixFilePermission each : permissions) {
            String name = each.name();
            if (name.startsWith("OWNER_") || permissions.contains(PosixFilePermission.valueOf(name.replace("GROUP_", "OTHERS_")))) {
                result.add(each);
            }
        }
        return result;
    }
}
