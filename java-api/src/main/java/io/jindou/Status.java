package io.jindou;

import io.jindou.bindings.JindouAbi;

/** Why a call of the native library failed: the {@code jd_status} of the C ABI. */
public enum Status {
    /** A value, dtype, rank, shape, stride, alignment or offset that breaks a documented rule. */
    INVALID_ARGUMENT(JindouAbi.JD_INVALID_ARGUMENT()),
    /** An object of another kind or of another device ("foreign"). */
    INVALID_HANDLE(JindouAbi.JD_INVALID_HANDLE()),
    /** The object, or the device it belongs to, has been closed. */
    CLOSED(JindouAbi.JD_CLOSED()),
    /** Well-formed, but no kernel of this device does it. */
    UNSUPPORTED(JindouAbi.JD_UNSUPPORTED()),
    /** The device, its driver or the native library is absent. */
    NO_DEVICE(JindouAbi.JD_NO_DEVICE()),
    /** Host or device memory is exhausted, or the device's memory limit is reached. */
    OUT_OF_MEMORY(JindouAbi.JD_OUT_OF_MEMORY()),
    /** An id, offset or length that only the device could see was out of range. */
    OUT_OF_BOUNDS(JindouAbi.JD_OUT_OF_BOUNDS()),
    /** The driver failed. */
    BACKEND_ERROR(JindouAbi.JD_BACKEND_ERROR()),
    /** A bug in Jindou. */
    INTERNAL(JindouAbi.JD_INTERNAL());

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
