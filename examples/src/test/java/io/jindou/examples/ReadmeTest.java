package io.jindou.examples;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;

/** The README shows code that compiles and runs. */
class ReadmeTest {
    @Test
    void the_readme_shows_the_quickstart() throws IOException {
        String source = Files.readString(Path.of("src/main/java/io/jindou/examples/Quickstart.java"));
        String begin = "        // README: begin\n";
        String shown = source.substring(source.indexOf(begin) + begin.length(), source.indexOf("        // README: end"));
        String readme = Files.readString(Path.of("../README.md"));
        assertTrue(readme.contains(shown.stripTrailing().stripIndent()), "README.md does not show the code of Quickstart.java");
    }

    @Test
    void the_quickstart_prints_what_it_says() {
        PrintStream before = System.out;
        ByteArrayOutputStream printed = new ByteArrayOutputStream();
        System.setOut(new PrintStream(printed, true, StandardCharsets.UTF_8));
        try {
            Quickstart.main(new String[0]);
        } finally {
            System.setOut(before);
        }
        String line = printed.toString(StandardCharsets.UTF_8).strip();
        assertEquals("32.0", line.substring(line.indexOf(": ") + 2));
    }
}
