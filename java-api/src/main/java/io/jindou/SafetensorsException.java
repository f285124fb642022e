package io.jindou;

import java.io.IOException;
import java.nio.file.Path;

/** A safetensors file that is damaged or not one at all. The message names the file and the field. */
public final class SafetensorsException extends IOException {
    private static final long serialVersionUID = 1L;

    /** The file. */
    private final transient Path file;
    /** The field. */
    private final String field;

    SafetensorsException(Path file, String field, String message) {
        super(file + ": " + field + ": " + message);
        this.file = file;
        this.field = field;
    }

    /**
     * The file.
     *
     * @return its path; null after deserialisation
     */
    public Path file() {
        return file;
    }

    /**
     * What is wrong in it.
     *
     * @return for example {@code "header size"} or {@code "item.weight.data_offsets"}
     */
    public String field() {
        return field;
    }
}
