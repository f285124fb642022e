package io.jindou.examples;

import io.jindou.Device;
import io.jindou.DeviceOptions;
import io.jindou.Stream;
import java.io.IOException;
import java.util.List;

/** The bundled HSTU model on a device of one thread: what a task of the cluster holds. */
final class HstuEncoder implements EmbedUsers.Encoder {
    private final Scope scope = new Scope();
    private final HstuRetriever retriever;

    HstuEncoder(String device, int maxUsers) throws IOException {
        try {
            HstuModel model = scope.keep(HstuModel.bundled());
            Device opened = scope.keep(Device.open(device, DeviceOptions.DEFAULT.withNumThreads(1)));
            Stream stream = scope.keep(Stream.create(opened));
            retriever = scope.keep(new HstuRetriever(model, opened, stream, maxUsers));
        } catch (Throwable failure) {
            scope.close();
            throw failure;
        }
    }

    @Override
    public float[] encode(List<int[]> histories) {
        return retriever.encode(histories);
    }

    @Override
    public void close() {
        scope.close();
    }
}
