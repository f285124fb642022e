package io.jindou.examples;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import io.jindou.Safetensors;
import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;

/**
 * A trained HSTU next-item model: its shapes ({@code config.json}) and its weights ({@code model.safetensors}, memory-mapped).
 * The model that comes with the examples was trained on video-game reviews.
 */
final class HstuModel implements AutoCloseable {
    private static final String RESOURCES = "hstu-video-games/";

    /** The fields of {@code config.json} that the forward pass needs. */
    record Config(
            int embeddingDim,
            int numHeads,
            int attentionDim,
            int hiddenDim,
            int numLayers,
            int maxSeqLen,
            int numItems,
            float normEps,
            float l2Eps) {
        static Config read(JsonNode json) {
            return new Config(
                    json.required("embedding_dim").intValue(),
                    json.required("num_heads").intValue(),
                    json.required("attention_dim").intValue(),
                    json.required("hidden_dim").intValue(),
                    json.required("num_layers").intValue(),
                    json.required("max_seq_len").intValue(),
                    json.required("num_items").intValue(),
                    json.required("norm_eps").floatValue(),
                    json.required("l2_eps").floatValue());
        }
    }

    private final Config config;
    private final Safetensors weights;
    private final Path extracted;

    private HstuModel(Config config, Safetensors weights, Path extracted) {
        this.config = config;
        this.weights = weights;
        this.extracted = extracted;
    }

    /** Opens a folder with {@code config.json} and {@code model.safetensors}. */
    static HstuModel open(Path folder) throws IOException {
        Config config = Config.read(new ObjectMapper().readTree(folder.resolve("config.json").toFile()));
        return new HstuModel(config, Safetensors.open(folder.resolve("model.safetensors")), null);
    }

    /** The model that comes with the examples. Weights in a jar cannot be mapped, so they go through a temporary file. */
    static HstuModel bundled() {
        try (InputStream configJson = resource("config.json");
                InputStream weights = resource("model.safetensors")) {
            Config config = Config.read(new ObjectMapper().readTree(configJson));
            Path file = Files.createTempFile("jindou-hstu-", ".safetensors");
            Files.copy(weights, file, StandardCopyOption.REPLACE_EXISTING);
            return new HstuModel(config, Safetensors.open(file), file);
        } catch (IOException failed) {
            throw new UncheckedIOException(failed);
        }
    }

    private static InputStream resource(String name) throws IOException {
        InputStream stream = HstuModel.class.getResourceAsStream(RESOURCES + name);
        if (stream == null) {
            throw new IOException("resource " + RESOURCES + name + " is missing from the examples");
        }
        return stream;
    }

    Config config() {
        return config;
    }

    Safetensors weights() {
        return weights;
    }

    @Override
    public void close() {
        weights.close();
        if (extracted != null) {
            try {
                Files.deleteIfExists(extracted);
            } catch (IOException leftOver) {
                extracted.toFile().deleteOnExit();
            }
        }
    }
}
