package io.jindou.bindings;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;

/** The bindings that are checked in were generated from the headers that are checked in. Needs no jextract. */
class BindingsUpToDateTest {
    @Test
    void headers_are_those_that_jextract_read() throws IOException {
        assertEquals(
                String.join("\n", Files.readAllLines(Path.of("HEADERS.sha256"))),
                String.join("\n", HeaderDigest.lines(Path.of("../native/include/jindou"))),
                "native/include changed since the bindings were generated: run make bindings JEXTRACT=<path>");
    }

    @Test
    void generated_sources_tell_nothing_of_the_machine_that_made_them() throws IOException {
        try (var sources = Files.walk(Path.of("src/main/java"))) {
            for (Path source : (Iterable<Path>) sources.filter(Files::isRegularFile)::iterator) {
                String text = Files.readString(source);
                assertFalse(text.contains("native/include") || text.contains("/home/") || text.contains("/tmp/"), source.toString());
            }
        }
    }
}
