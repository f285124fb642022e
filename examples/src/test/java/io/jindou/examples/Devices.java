package io.jindou.examples;

import io.jindou.Device;
import java.util.List;

/** Devices that tests run on: cpu and simt always, cuda where there is one. */
final class Devices {
    private Devices() {}

    static List<String> all() {
        boolean cuda = Device.available().stream().anyMatch(d -> d.name().startsWith("cuda") && d.available());
        return cuda ? List.of("cpu", "simt", "cuda") : List.of("cpu", "simt");
    }

}
