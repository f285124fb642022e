// The cases of the calibration: inputs, how far the results of two machines may be apart, and the dump they are compared with.
//
// golden/primitives.txt holds the emulator's results. jindou_calibrate_simt compares the emulator with it (so it is current),
// jindou_calibrate_cuda a GPU: whatever the two read differently in the PTX manual shows there.
//
//   jindou_calibrate_simt [--write] [<dump>]        exit status: 0 alike, 1 different, 2 no dump
//   jindou_calibrate_cuda [--write] [<dump>]        the same; 3: no GPU
// On a GPU that is not of compute capability 9.0 the last cases, of instructions that only those have, are left out.
#ifndef JINDOU_PRIMITIVES_CALIBRATION_CALIBRATION_H
#define JINDOU_PRIMITIVES_CALIBRATION_CALIBRATION_H

#include <cmath>
#include <cstdio>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "primitives/calibration/hopper_kernels.h"
#include "primitives/calibration/kernels.h"

namespace jindou::calibration {

// Words are compared as bits, or as floats: |result - golden| <= absolute + relative |golden|, a NaN with a NaN.
struct Comparison {
  bool floats = false;
  double absolute = 0;
  double relative = 0;
};

constexpr Comparison kBits{};
constexpr Comparison kSameFloats{true, 0, 0};  // a NaN is a NaN, whatever its bits

// Twice what primitives/math.h says of the hardware: the emulator has a rounding of its own.
constexpr Comparison kApproximate{true, 0, 0x1p-21};
constexpr Comparison kApproximateLog{true, 0x1p-21, 0x1p-21};
constexpr Comparison kApproximateExp{true, 0, 0x1p-21 + 88 * 0x1p-23};  // arguments up to 88
constexpr Comparison kApproximateTanh{true, 0, 0x1p-10};
// mma: 16 products and an addend, each up to 1. The hardware drops bits below 2^-23 when it aligns them, the emulator rounds
// 17 times to at most 2^-20; both together are below 2^-15.
constexpr Comparison kMma{true, 0x1p-15, 0};
// wgmma: the same five times, with sums up to 80.
constexpr Comparison kWgmma{true, 5 * 80 * 0x1p-20, 0};

struct Case {
  std::string name;
  Comparison comparison;
  std::vector<uint32_t> result;
};

// -- inputs: the same everywhere -------------------------------------------------------------------------------------------
class Inputs {
 public:
  explicit Inputs(uint32_t seed) : state_(seed * 2654435761u + 1) {}

  uint32_t word() {  // xorshift
    state_ ^= state_ << 13;
    state_ ^= state_ >> 17;
    state_ ^= state_ << 5;
    return state_;
  }
  float real(float from, float to) { return from + (to - from) * static_cast<float>(word() >> 8) * 0x1p-24f; }

  std::vector<uint32_t> words(size_t n) {
    std::vector<uint32_t> v(n);
    for (uint32_t &w : v) w = word();
    return v;
  }
  std::vector<uint32_t> reals(size_t n, float from, float to, const std::vector<float> &first = {}) {
    std::vector<uint32_t> v(n);
    for (size_t i = 0; i < n; ++i) v[i] = prim::as_uint(i < first.size() ? first[i] : real(from, to));
    return v;
  }
  // Two 16-bit floats a word.
  template <class T>
  std::vector<uint32_t> pairs(size_t n, bool integers) {
    std::vector<uint32_t> v(n);
    const auto value = [&] { return integers ? static_cast<float>(static_cast<int>(word() >> 28) - 8) : real(-1.0f, 1.0f); };
    for (uint32_t &w : v) {
      const float low = value();
      w = prim::pack2<T>(low, value());
    }
    return v;
  }

 private:
  uint32_t state_;
};

// Where formats end, and around it.
inline std::vector<uint32_t> float_edges() {
  std::vector<uint32_t> v;
  for (const uint32_t u :
       {0x00000000u, 0x00000001u, 0x007fffffu, 0x00800000u,  // zero, subnormals, the least normal
        0x33000000u, 0x33000001u, 0x33800000u, 0x33c00000u, 0x387fc000u, 0x387fe000u, 0x387ff000u, 0x38800000u,  // f16's subnormals
        0x3f7fffffu, 0x3f800000u, 0x3f801000u, 0x3f803000u, 0x3f808000u, 0x3f818000u, 0x3f80ffffu,            // ties and neighbours
        0x477fe000u, 0x477fefffu, 0x477ff000u, 0x477fffffu, 0x7f7f0000u, 0x7f7f7fffu, 0x7f7f8000u, 0x7f7fffffu,  // the largest
        0x7f800000u, 0x7f800001u, 0x7fc00000u, 0x7fffffffu}) {
    v.push_back(u);
    v.push_back(u | 0x80000000u);
  }
  return v;
}

inline std::vector<uint32_t> concatenated(std::vector<uint32_t> a, const std::vector<uint32_t> &b, size_t words) {
  a.insert(a.end(), b.begin(), b.end());
  a.resize(words);
  return a;
}

// -- cases -----------------------------------------------------------------------------------------------------------------
// Device: template <class K> std::vector<uint32_t> run(prim::Grid, const std::vector<uint32_t> &in, size_t out_words), which makes the
// tensor map of a kernel that has a geometry(in); is_hopper()
template <class Device>
class Cases {
 public:
  explicit Cases(Device &device) : device_(device) {}

  std::vector<Case> run_all() {
    scalars();
    threads();
    memory();
    matrices();
    if (device_.is_hopper()) hopper();
    return std::move(cases_);
  }

 private:
  template <class K>
  void add(const std::string &name, Comparison comparison, prim::Grid grid, const std::vector<uint32_t> &in, size_t out_words) {
    cases_.push_back({name, comparison, device_.template run<K>(grid, in, out_words)});
  }

  template <Function kFunction>
  void add_function(const char *name, Comparison comparison, float from, float to, const std::vector<float> &first) {
    add<ApproximateMath<kFunction>>(name, comparison, kFour, in_.reals(256, from, to, first), 256);
  }

  void scalars() {
    const float inf = INFINITY;
    const std::vector<uint32_t> any = concatenated(in_.words(100), in_.reals(100, -70000, 70000), 200);
    add<Conversions>("conversions", kBits, kFour, concatenated(float_edges(), any, 256), 1024);
    const std::vector<uint32_t> edges16 = {0x00008000u, 0x03ff0001u, 0x7bff0400u, 0xfc007c00u, 0x7f80ff80u};
    add<Widening>("widening", kSameFloats, kFour, concatenated(edges16, in_.pairs<prim::f16>(300, false), 256), 1024);
    const std::vector<uint32_t> edges = {0, 1, 0x80000000u, 0xffffffffu};
    add<BitCounts>("bit_counts", kBits, kFour, concatenated(edges, in_.words(300), 256), 768);
    std::vector<uint32_t> operands = concatenated(in_.reals(600, -100, 100), float_edges(), 768);
    for (uint32_t &u : operands) {  // the two do not agree on signalling NaNs, which no arithmetic makes
      if ((u & 0x7fffffffu) == 0x7f800001u) u = 0x7fc00000u;
    }
    add<ExactMath>("exact_math", kSameFloats, kFour, operands, 1792);
    add_function<Function::exp2>("exp2_approx", kApproximate, -20, 0,
                                 {-inf, inf, 0.0f, 1.0f, -126.0f, -127.0f, -149.0f, 128.0f, NAN, 1e-40f});
    add_function<Function::exp>("exp_approx", kApproximateExp, -80, 80, {-inf, inf, 0.0f, 1.0f, -0.0f, NAN});
    add_function<Function::log2>("log2_approx", kApproximateLog, 0, 1000,
                                 {0.0f, inf, 1.0f, 2.0f, 0.5f, 0.75f, 1.0001f, -1.0f, NAN, 1e-40f});
    add_function<Function::rcp>("rcp_approx", kApproximate, -10, 10,
                                {0.0f, -0.0f, inf, -inf, 1.0f, 3.0f, 1e-40f, 2e38f, 3e38f, NAN});
    add_function<Function::rsqrt>("rsqrt_approx", kApproximate, 0, 1000,
                                  {0.0f, inf, 1.0f, 2.0f, 4.0f, 1e-40f, 1e-37f, -1.0f, NAN});
    add_function<Function::tanh>("tanh_approx", kApproximateTanh, -5, 5, {0.0f, inf, -inf, 1.0f, 1e-3f, NAN});
  }

  void threads() {
    add<Indices>("indices", kBits, {3, 2, 2}, {0}, 12 * 64 * 2);
    add<Shuffles>("shuffles", kBits, kOne, in_.words(32), 15 * 128 + 96);
    std::vector<uint32_t> predicates = in_.words(16 * 32);
    for (size_t i = 0; i < 64; ++i) predicates[i] = i / 32;   // none, then all
    for (size_t i = 64; i < 96; ++i) predicates[i] = i / 80;  // one half
    add<Votes>("votes", kBits, kOne, predicates, 16 * 96);
    add<Barriers>("barriers", kBits, kOne, in_.words(512), 512);
    const std::vector<uint32_t> addends = in_.words(128);
    add<Atomics<int32_t>>("atomics_i32", kBits, kOne, addends, 16);
    add<Atomics<uint32_t>>("atomics_u32", kBits, kOne, addends, 16);
    add<Atomics<int64_t>>("atomics_i64", kBits, kOne, addends, 32);
    add<Atomics<uint64_t>>("atomics_u64", kBits, kOne, addends, 32);
    add<Locks>("locks", kBits, kOne, in_.words(4), 7);
  }

  void memory() {
    add<Vectors>("vectors", kBits, kOne, in_.words(512), 512);
    add<AsyncCopies>("async_copies", kBits, kOne, in_.words(768), 768);
  }

  void matrices() {
    add<LoadMatrices>("ldmatrix", kBits, kOne, in_.words(128), 384);
    add_mma<prim::bf16>("mma_bf16");
    add_mma<prim::f16>("mma_f16");
  }

  template <class T>
  void add_mma(const std::string &name) {
    const std::vector<uint32_t> threes(128, prim::as_uint(3.0f));
    // Sums of small integers are exact in any order.
    add<MultiplyAdd<T>>(name + "_integers", kSameFloats, kOne, concatenated(in_.pairs<T>(192, true), threes, 320), 128);
    const std::vector<uint32_t> pairs = in_.pairs<T>(192, false);
    add<MultiplyAdd<T>>(name + "_reals", kMma, kOne, concatenated(pairs, in_.reals(128, -1, 1), 320), 128);
  }

  void hopper() {
    add<Mbarriers>("mbarriers", kBits, kOne, in_.words(256), 256);
    add<TensorCopies>("tensor_copies", kBits, kOne, in_.words(2 * 2 * 11 * 32), TensorCopies::kBoxes * 512);
    add_products<64, Form::shared_rows>("rows");
    add_products<64, Form::shared_columns>("columns");
    add_products<64, Form::registers_columns>("registers");
    add_products<128, Form::shared_rows>("rows");
    add_products<128, Form::registers_columns>("registers");
    add_products<256, Form::shared_rows>("rows");
    add_products<256, Form::registers_rows>("registers_rows");
    add_products<256, Form::registers_columns>("registers");
    using Reals = Products<64, Form::registers_columns, false>;
    add<Reals>("wgmma_reals", kWgmma, kOne, in_.pairs<prim::bf16>(Reals::kInWords, false), Reals::kOutWords);
  }

  template <int kN, Form kForm>
  void add_products(const std::string &name) {
    using Kernel = Products<kN, kForm, true>;
    // -2..1, so that signatures are exact.
    std::vector<uint32_t> in(Kernel::kInWords);
    for (uint32_t &w : in) {
      const float low = static_cast<float>(static_cast<int>(in_.word() >> 30) - 2);
      w = prim::pack2<prim::bf16>(low, static_cast<float>(static_cast<int>(in_.word() >> 30) - 2));
    }
    add<Kernel>("wgmma_n" + std::to_string(kN) + "_" + name, kSameFloats, kOne, in, Kernel::kOutWords);
  }

  static constexpr prim::Grid kOne{1, 1, 1};
  static constexpr prim::Grid kFour{4, 1, 1};
  Device &device_;
  Inputs in_{1};
  std::vector<Case> cases_;
};

// -- the dump: text, for a reader and for a diff ---------------------------------------------------------------------------
inline bool write_dump(const char *path, const std::vector<Case> &cases) {
  FILE *file = fopen(path, "w");
  if (file == nullptr) return false;
  for (const Case &c : cases) {
    fprintf(file, "%s %zu\n", c.name.c_str(), c.result.size());
    for (size_t i = 0; i < c.result.size(); ++i) {
      fprintf(file, "%08x%c", c.result[i], i % 8 == 7 || i + 1 == c.result.size() ? '\n' : ' ');
    }
  }
  return fclose(file) == 0;
}

// Results alone: how to compare them is the program's knowledge.
inline bool read_dump(const char *path, std::vector<Case> &cases) {
  FILE *file = fopen(path, "r");
  if (file == nullptr) return false;
  char name[64];
  size_t words = 0;
  bool good = true;
  while (good && fscanf(file, "%63s %zu", name, &words) == 2) {
    Case c{name, {}, {}};
    for (size_t i = 0; i < words && good; ++i) {
      unsigned word = 0;
      good = fscanf(file, "%x", &word) == 1;
      c.result.push_back(word);
    }
    cases.push_back(c);
  }
  fclose(file);
  return good;
}

inline bool alike(uint32_t result, uint32_t golden, const Comparison &comparison) {
  if (result == golden) return true;
  if (!comparison.floats) return false;
  const double x = prim::as_float(result), y = prim::as_float(golden);
  if (std::isnan(x) || std::isnan(y)) return std::isnan(x) && std::isnan(y);
  if (std::isinf(x) || std::isinf(y)) return x == y;
  return std::abs(x - y) <= comparison.absolute + comparison.relative * std::abs(y);
}

// Prints what differs. The number of cases that do.
inline int compare(const std::vector<Case> &cases, const std::vector<Case> &golden) {
  int bad = 0;
  if (cases.size() != golden.size()) {
    printf("the dump has %zu cases, this program %zu\n", golden.size(), cases.size());
    ++bad;
  }
  for (size_t c = 0; c < cases.size() && c < golden.size(); ++c) {
    const Case &a = cases[c], &g = golden[c];
    if (a.name != g.name || a.result.size() != g.result.size()) {
      printf("%-18s the dump has %s of %zu words here\n", a.name.c_str(), g.name.c_str(), g.result.size());
      ++bad;
      continue;
    }
    size_t different = 0, first = 0, not_same_bits = 0;
    for (size_t i = 0; i < a.result.size(); ++i) {
      if (a.result[i] != g.result[i]) ++not_same_bits;
      if (alike(a.result[i], g.result[i], a.comparison)) continue;
      if (different++ == 0) first = i;
    }
    if (different == 0) {
      printf("%-18s ok, %zu words, %zu of other bits within tolerance\n", a.name.c_str(), a.result.size(), not_same_bits);
    } else {
      printf("%-18s DIFFERS in %zu of %zu words; first word %zu: %08x (%g), golden %08x (%g)\n", a.name.c_str(), different,
             a.result.size(), first, a.result[first], static_cast<double>(prim::as_float(a.result[first])), g.result[first],
             static_cast<double>(prim::as_float(g.result[first])));
      ++bad;
    }
  }
  return bad;
}

template <class Device>
int calibrate(Device &device, int argc, char **argv) {
  bool write = false;
  const char *path = JINDOU_GOLDEN_DUMP;  // of the source tree; from the build
  for (int i = 1; i < argc; ++i) {
    if (strcmp(argv[i], "--write") == 0) {
      write = true;
    } else {
      path = argv[i];
    }
  }
  const std::vector<Case> cases = Cases<Device>(device).run_all();
  if (write) {
    if (write_dump(path, cases)) return 0;
    fprintf(stderr, "cannot write %s\n", path);
    return 2;
  }
  std::vector<Case> golden;
  if (!read_dump(path, golden)) {
    fprintf(stderr, "cannot read the dump %s\n", path);
    return 2;
  }
  if (!device.is_hopper() && golden.size() > cases.size()) golden.resize(cases.size());
  const int bad = compare(cases, golden);
  printf("%s\n", bad == 0 ? "calibration: alike" : "calibration: DIFFERENT");
  return bad == 0 ? 0 : 1;
}

}  // namespace jindou::calibration

#endif
