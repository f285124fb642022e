package io.jindou;

/** Why a call of the native library failed: the {@code jd_status} of the C ABI. */
public enum Status {
    /** A value, dtype, rank, shape, stride, alignment or offset that breaks a documented rule. */
    INVALID_ARGUMENT(1),
    /** An object of another kind or of another device ("foreign"). */
    INVALID_HANDLE(2),
    /** The object, or the device it belongs to, has been closed. */
    CLOSED(3),
    /** Well-formed, but no kernel of this device does it. */
    UNSUPPORTED(4),
    /** The device, its driver or the native library is absent. */
    NO_DEVICE(5),
    /** Host or device memory is exhausted, or the device's memory limit is reached. */
    OUT_OF_MEMORY(6),
    /** An id, offset or length that only the device could see was out of range. */
    OUT_OF_BOUNDS(7),
    /** The driver failed. */
    BACKEND_ERROR(8),
    /** A bug in Jindou. */
    INTERNAL(9);

    private final int code;

    Status(int code) {
        this.code = code;
    }

    /**
     * The number of this status in the C ABI.
     *
     * @return the {@code jd_status}
     */
    public int code() {
        return code;
    }

    static Status of(int code) {
        for (Status status : values()) {
            if (status.code == code) {
                return status;
            }
        }
        return INTERNAL;
    }
}
