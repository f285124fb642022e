package io.jindou;

import java.util.ArrayList;
import java.util.List;

/** The devices that tests run on: {@code -Djindou.test.devices=cpu,simt}, by default these and the GPU where there is one. */
final class TestDevices {
    private TestDevices() {}

    static List<String> names() {
        String given = System.getProperty("jindou.test.devices");
        if (given != null) {
            return List.of(given.split(","));
        }
        List<String> names = new ArrayList<>(List.of("cpu", "simt"));
        if (Device.available().stream().anyMatch(d -> d.name().startsWith("cuda") && d.available())) {
            names.add("cuda");
        }
        return names;
    }
}
