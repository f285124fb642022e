package io.jindou.store;

import java.io.EOFException;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;

/** A part of a file that is written from its beginning on, in large pieces. */
final class AppendedFile {
    private static final int PIECE = 1 << 20;

    private final FileChannel channel;
    private final ByteBuffer piece = ByteBuffer.allocateDirect(PIECE);
    private long position;

    AppendedFile(FileChannel channel, long position) {
        this.channel = channel;
        this.position = position;
    }

    void append(byte[] bytes) throws IOException {
        for (int at = 0; at < bytes.length; ) {
            if (!piece.hasRemaining()) {
                flush();
            }
            int some = Math.min(piece.remaining(), bytes.length - at);
            piece.put(bytes, at, some);
            at += some;
        }
    }

    void flush() throws IOException {
        piece.flip();
        while (piece.hasRemaining()) {
            int written = channel.write(piece, position);
            if (written <= 0) {
                throw new EOFException("no progress writing");
            }
            position += written;
        }
        piece.clear();
    }
}
