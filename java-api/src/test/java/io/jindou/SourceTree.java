package io.jindou;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.concurrent.TimeUnit;

/** The source tree that the tests run in, and programs started from it. */
final class SourceTree {
    private SourceTree() {}

    static Path root() {
        for (Path folder = Path.of("").toAbsolutePath(); folder != null; folder = folder.getParent()) {
            if (Files.exists(folder.resolve("native/include/jindou/jindou.h"))) {
                return folder;
            }
        }
        throw new IllegalStateException("the tests run inside the source tree");
    }

    /** How a program ended and what it wrote, both streams together. */
    record Result(int status, String output) {}

    static Result run(Path folder, List<String> command) throws IOException, InterruptedException {
        return finish(start(folder, command));
    }

    static Process start(Path folder, List<String> command) throws IOException {
        ProcessBuilder builder = new ProcessBuilder(command).directory(folder.toFile()).redirectErrorStream(true);
        builder.environment().remove("JAVA_TOOL_OPTIONS");
        return builder.start();
    }

    static Result finish(Process process) throws IOException, InterruptedException {
        String output = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
        if (!process.waitFor(120, TimeUnit.SECONDS)) {
            process.destroyForcibly();
            throw new IOException("no end of " + process.info());
        }
        return new Result(process.exitValue(), output);
    }
}
