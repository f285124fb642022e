#include "cpu/isa.h"

#include <cstdlib>
#include <cstring>
#include <string>

#include "core/error.h"

namespace jindou::cpu {

// What the files of isa/ define, once for each instruction set of this build. A new family of kernels: one line in each part.
#define JINDOU_DECLARE_ISA(isa)                        \
  namespace isa {                                      \
  extern const TargetAttentionKernels kTargetAttentionKernels; \
  extern const BeamAttentionKernels kBeamAttentionKernels;     \
  extern const HstuAttentionKernels kHstuAttentionKernels;     \
  extern const SoftmaxAttentionKernels kSoftmaxAttentionKernels; \
  extern const DecodeKernels kDecodeKernels;           \
  extern const SearchKernels kSearchKernels;           \
  extern const DinKernels kDinKernels;                 \
  extern const EmbeddingKernels kEmbeddingKernels;     \
  extern const HashKernels kHashKernels;               \
  extern const RqKernels kRqKernels;                   \
  extern const TopKKernels kTopKKernels;               \
  extern const SequenceKernels kSequenceKernels;       \
  extern const BlockKernels kBlockKernels;             \
  const KernelTable &table() {                         \
    static const KernelTable all = {kTargetAttentionKernels, \
                                    kBeamAttentionKernels,   \
                                    kHstuAttentionKernels,   \
                                    kSoftmaxAttentionKernels, \
                                    kDecodeKernels,          \
                                    kSearchKernels,          \
                                    kDinKernels,             \
                                    kEmbeddingKernels,       \
                                    kHashKernels,            \
                                    kRqKernels,              \
                                    kTopKKernels,            \
                                    kSequenceKernels,        \
                                    kBlockKernels,           \
                                    #isa};                   \
    return all;                                        \
  }                                                    \
  }

JINDOU_DECLARE_ISA(generic)
#if defined(__x86_64__)
JINDOU_DECLARE_ISA(avx2)
JINDOU_DECLARE_ISA(avx512bf16)
#if !defined(JINDOU_CPU_EMULATED_AVX512)
JINDOU_DECLARE_ISA(avx512)
#endif
#endif

namespace {

struct Level {
  const char *name;
  const KernelTable *kernels;  // null: not in this build
  bool runs_here;
};

// Best first.
struct Levels {
  Level list[4];

  Levels() : list{} {
    Level *next = list;
#if defined(JINDOU_CPU_EMULATED_AVX512)  // tests only: one library with the kernels of AVX-512 carried out by AVX2
    *next++ = {"avx512bf16", &avx512bf16::table(), true};
    *next++ = {"avx512", nullptr, false};
#elif defined(__x86_64__)
    const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
    *next++ = {"avx512bf16", &avx512bf16::table(), avx512 && __builtin_cpu_supports("avx512bf16")};
    *next++ = {"avx512", &avx512::table(), avx512};
#else
    *next++ = {"avx512bf16", nullptr, false};
    *next++ = {"avx512", nullptr, false};
#endif
#if defined(__x86_64__)
    *next++ = {"avx2", &avx2::table(),
               __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c")};
#else
    *next++ = {"avx2", nullptr, false};
#endif
    *next++ = {"generic", &generic::table(), true};
  }
};

std::string usable(const Levels &levels) {
  std::string names;
  for (const Level &level : levels.list) {
    if (level.kernels && level.runs_here) names += (names.empty() ? "" : ", ") + std::string(level.name);
  }
  return names;
}

}  // namespace

jd_status choose_kernels(const KernelTable **kernels, jd_error *error) {
  const Levels levels;
  const char *forced = std::getenv("JINDOU_CPU_ISA");
  const bool any = !forced || !*forced;
  for (const Level &level : levels.list) {
    const bool runs = level.kernels && level.runs_here;
    if (any && runs) {
      *kernels = level.kernels;
      return JD_OK;
    }
    if (any || std::strcmp(forced, level.name) != 0) continue;
    if (!runs) {
      return fail(error, JD_UNSUPPORTED, "JINDOU_CPU_ISA: expected an instruction set of this CPU (%s), got '%s'",
                  usable(levels).c_str(), forced);
    }
    *kernels = level.kernels;
    return JD_OK;
  }
  return fail(error, JD_INVALID_ARGUMENT, "JINDOU_CPU_ISA: expected one of %s, got '%s'", usable(levels).c_str(), forced);
}

}  // namespace jindou::cpu
