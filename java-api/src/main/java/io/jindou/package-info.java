/**
 * Inference kernels for large recommendation models: attention over long user histories, embedding tables, and what stands
 * between them.
 *
 * {@snippet file="io/jindou/DocumentationTest.java" region="overview"}
 *
 * <h2>Objects</h2>
 * <ul>
 *   <li>{@link io.jindou.Device}: where work runs. {@link io.jindou.Stream}, {@link io.jindou.Event}, {@link io.jindou.Graph}: its
 *       order.
 *   <li>{@link io.jindou.Tensor}: typed, strided device memory. {@link io.jindou.JaggedTensor}: sequences of different lengths.
 *   <li>{@link io.jindou.EmbeddingBag}, {@link io.jindou.TargetAttention}, {@link io.jindou.HstuAttention},
 *       {@link io.jindou.DecodeAttention}, {@link io.jindou.SoftmaxAttention}, {@link io.jindou.DinAttention}, {@link io.jindou.RqEncode},
 *       {@link io.jindou.SequenceEmbedding}, {@link io.jindou.HistorySearch}, {@link io.jindou.SearchAttention},
 *       {@link io.jindou.BeamAttention}, {@link io.jindou.StcaAttention}, {@link io.jindou.LongerAttention},
 *       {@link io.jindou.TopKInnerProduct}: operators with a {@link io.jindou.Plan}, made once and run many times.
 *       {@link io.jindou.Blocks}, {@link io.jindou.MergeAttentionStates}, {@link io.jindou.RqDecode}, {@link io.jindou.MergeTokens}: plain
 *       operators.
 *   <li>{@link io.jindou.HashTable}: rows by 64-bit keys.
 *   <li>{@link io.jindou.Safetensors}: model files, read without copying.
 * </ul>
 *
 * <h2>Rules</h2>
 * <ul>
 *   <li>Operators enqueue and return. Reading a tensor, or {@link io.jindou.Stream#synchronize()}, waits for the results.
 *   <li>A run allocates nothing on the Java heap.
 *   <li>Devices, streams, tensors, plans and tables may be shared between threads, virtual threads included; what is not says so
 *       ({@link io.jindou.BeamAncestry}). Runs of one plan on two streams at once must be ordered by the caller (events), since they
 *       share its scratch memory.
 *   <li>Everything native is {@link java.lang.AutoCloseable}. Closing twice is harmless, use after close throws
 *       {@link io.jindou.ClosedException}. What was forgotten is released by the garbage collector; with
 *       {@code -Djindou.warn.unclosed=true} that is logged as a warning of the logger {@code io.jindou}.
 *   <li>Exceptions are described at {@link io.jindou.JindouFailure}. An argument that must not be null and is gives a
 *       {@link java.lang.NullPointerException} with its name.
 *   <li>The bits of one user's result depend neither on the rest of the batch nor on the number of threads.
 * </ul>
 *
 * <h2>Native library</h2>
 * It is looked for, in this order, in a jar (the artifact {@code io.jindou:jindou} with the classifier {@code linux-x86_64}; it is
 * extracted once to {@code ~/.cache/jindou}, or to the directory that {@code -Djindou.cache.dir} names), in the directory named by
 * {@code -Djindou.library.path}, and in {@code build/native/lib} of a source tree. Start Java with
 * {@code --enable-native-access=ALL-UNNAMED} or, on the module path, {@code --enable-native-access=io.jindou,io.jindou.bindings}.
 */
package io.jindou;
