package io.jindou;

/**
 * Whether a device can be opened here, and why not.
 *
 * @param name what {@link Device#open(String)} takes, for example {@code "cuda:0"}
 * @param available whether it can be opened
 * @param reason why not; empty when it can
 */
public record DeviceAvailability(String name, boolean available, String reason) {
    @Override
    public String toString() {
        return available ? name + ": available" : name + ": " + reason;
    }
}
