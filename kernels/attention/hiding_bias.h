// From where on a dense bias of softmax_attention hides its key (jindou/softmax_attention.h), once: for the CUDA kernels, their
// emulation and the CPU backend. Beside keys that are seen such a bias leaves no weight by itself; but a row of which it hides every key
// sees none, and under a soft-cap the score would be -softcap, as of any low bias. Depends on nothing.
#ifndef JINDOU_KERNELS_ATTENTION_HIDING_BIAS_H
#define JINDOU_KERNELS_ATTENTION_HIDING_BIAS_H

namespace jindou {

constexpr float kHidingBias = -1e30f;  // one below it hides

}  // namespace jindou

#endif
