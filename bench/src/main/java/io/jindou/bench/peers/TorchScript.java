package io.jindou.bench.peers;

import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.util.zip.CRC32;
import java.util.zip.ZipEntry;
import java.util.zip.ZipOutputStream;

/**
 * Writes a TorchScript archive that holds one {@code forward} method and no parameters, so that any libtorch function can be
 * called through DJL without Python: the format is a zip of TorchScript source and an (all but empty) pickle.
 */
final class TorchScript {
    /** {@code __torch__.M()} with the attribute {@code training = False}, pickle protocol 2. */
    private static final byte[] DATA = concat(
            new byte[] {(byte) 0x80, 2}, ascii("c__torch__\nM\n"), new byte[] {'q', 0, ')', (byte) 0x81, '}', '('},
            new byte[] {'X', 8, 0, 0, 0}, ascii("training"), new byte[] {'q', 1, (byte) 0x89, 'u', 'b', 'q', 2, '.'});
    /** The empty tuple. */
    private static final byte[] CONSTANTS = {(byte) 0x80, 2, ')', '.'};

    private TorchScript() {}

    /**
     * @param forward the method after its {@code def forward(self: __torch__.M, }: further parameters, result type and
     *     body, indented by four blanks; calls are {@code torch.<aten function>(...)}
     * @return the archive's bytes
     */
    static InputStream archive(String forward) throws IOException {
        String code = "class M(Module):\n"
                + "  __parameters__ = []\n"
                + "  __buffers__ = []\n"
                + "  training : bool\n"
                + "  def forward(self: __torch__.M, " + forward;
        ByteArrayOutputStream bytes = new ByteArrayOutputStream();
        try (ZipOutputStream zip = new ZipOutputStream(bytes)) {
            store(zip, "m/data.pkl", DATA);
            store(zip, "m/code/__torch__.py", ascii(code));
            store(zip, "m/constants.pkl", CONSTANTS);
            store(zip, "m/version", ascii("3\n"));
        }
        return new ByteArrayInputStream(bytes.toByteArray());
    }

    private static void store(ZipOutputStream zip, String name, byte[] content) throws IOException {
        CRC32 crc = new CRC32();
        crc.update(content);
        ZipEntry entry = new ZipEntry(name);
        entry.setMethod(ZipEntry.STORED);
        entry.setSize(content.length);
        entry.setCrc(crc.getValue());
        zip.putNextEntry(entry);
        zip.write(content);
        zip.closeEntry();
    }

    private static byte[] ascii(String text) {
        return text.getBytes(StandardCharsets.US_ASCII);
    }

    private static byte[] concat(byte[]... parts) {
        ByteArrayOutputStream all = new ByteArrayOutputStream();
        for (byte[] part : parts) {
            all.writeBytes(part);
        }
        return all.toByteArray();
    }
}
