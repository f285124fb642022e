// Tensors far larger than memory, for tests of offsets past 2^31 elements and 2^32 bytes: address space that has no memory behind
// it until it is touched, and of which a test touches a few rows.
//
// A test runs one call twice: in `narrow` memory, dense tensors of those few rows, and in `wide` memory, where the same rows lie far
// apart (`strided`) or far behind others (`behind`). Strides and the rest of the batch change no bit of a result, so the two must agree
// bit for bit. An index cut to 32 bits reads zeros (what was never written) or leaves the tensor.
#ifndef JINDOU_TESTS_WIDE_MEMORY_H
#define JINDOU_TESTS_WIDE_MEMORY_H

#include <sys/mman.h>
#include <sys/resource.h>

#include <cerrno>

#include "operators_support.h"

namespace jindou::testing {

constexpr int64_t kFar = int64_t{1} << 31;

class WideMemory {
 public:
  WideMemory(Rig &r, bool is_wide) : rig(r), wide(is_wide) {}
  ~WideMemory() {
    for (const jd_tensor tensor : tensors_) jd_tensor_destroy(tensor, nullptr);
    for (const Block &block : blocks_) munmap(block.data, block.bytes);
  }
  WideMemory(const WideMemory &) = delete;
  WideMemory &operator=(const WideMemory &) = delete;

  // Strides in which rows are 2^31 elements apart, and every dimension before the rows' own a multiple of that which clears the one
  // behind it: [rows, heads, d] has heads further apart than all rows of one. The last dimension is contiguous.
  static std::vector<int64_t> far_apart(const std::vector<int64_t> &shape) {
    std::vector<int64_t> strides(shape.size(), 1);
    int64_t stride = kFar;
    for (size_t i = 0; i + 1 < shape.size(); ++i) {
      strides[i] = stride;
      int64_t room = 1;
      while (room < shape[i]) room *= 2;
      stride *= room;
    }
    return strides;
  }

  // A tensor of these values; wide: with `strides`, or far apart.
  jd_tensor strided(int32_t dtype, const std::vector<int64_t> &shape, const std::vector<double> &values,
                    const std::vector<int64_t> &strides = {}) {
    return make(dtype, shape, wide ? strides.empty() ? far_apart(shape) : strides : dense(shape), 0, values);
  }
  jd_tensor strided_out(int32_t dtype, const std::vector<int64_t> &shape, const std::vector<int64_t> &strides = {}) {
    return strided(dtype, shape, std::vector<double>(static_cast<size_t>(count(shape)), NAN), strides);
  }

  // A dense tensor of these values; wide: of `before` rows more, which lie before them and are never written.
  jd_tensor behind(int64_t before, int32_t dtype, const std::vector<int64_t> &shape, const std::vector<double> &values) {
    std::vector<int64_t> all = shape;
    if (wide) all[0] += before;
    return make(dtype, all, dense(all), wide ? before : 0, values);
  }
  jd_tensor behind_out(int64_t before, int32_t dtype, const std::vector<int64_t> &shape) {
    return behind(before, dtype, shape, std::vector<double>(static_cast<size_t>(count(shape)), NAN));
  }

  // Of a tensor of this shape and these strides the last rows; the others are never written.
  jd_tensor last_rows(int32_t dtype, const std::vector<int64_t> &shape, const std::vector<int64_t> &strides, int64_t rows,
                      const std::vector<double> &values) {
    return make(dtype, shape, strides, shape[0] - rows, values);
  }

  // Offsets of sequences of these lengths; wide: behind `sequences` others of `length` rows each.
  jd_tensor offsets(int64_t sequences, int64_t length, const std::vector<int64_t> &lengths) {
    std::vector<int64_t> all(static_cast<size_t>(wide ? sequences : 0), length);
    all.insert(all.end(), lengths.begin(), lengths.end());
    return rig.integers(JD_I64, offsets_of(all));
  }
  // Of each sequence one number.
  jd_tensor integers(int64_t sequences, int64_t number, const std::vector<int64_t> &numbers) {
    std::vector<int64_t> all(static_cast<size_t>(wide ? sequences : 0), number);
    all.insert(all.end(), numbers.begin(), numbers.end());
    return rig.integers(JD_I32, all);
  }

  // The bits of what was written where make() put values.
  std::vector<uint64_t> bits(jd_tensor t) const {
    for (size_t i = 0; i < tensors_.size(); ++i) {
      if (tensors_[i] != t) continue;
      const Placed &p = placed_[i];
      std::vector<uint64_t> result;
      for_each(p, [&](int64_t, int64_t at) {
        uint64_t x = 0;
        std::memcpy(&x, p.data + at * p.size, static_cast<size_t>(p.size));
        result.push_back(x);
      });
      return result;
    }
    ADD_FAILURE() << "not a tensor of this memory";
    return {};
  }

  // Writes an element of a dense tensor that make() did not write.
  void put(jd_tensor t, int64_t element, double value) {
    for (size_t i = 0; i < tensors_.size(); ++i) {
      if (tensors_[i] == t) put(placed_[i], element, value);
    }
  }

  Rig &rig;
  const bool wide;

 private:
  struct Block {
    void *data;
    size_t bytes;
  };
  struct Placed {
    char *data;
    int32_t dtype;
    int64_t size, first;                  // of an element; the first written, in elements
    std::vector<int64_t> shape, strides;  // of what was written
  };

  static int64_t count(const std::vector<int64_t> &shape) {
    int64_t n = 1;
    for (const int64_t extent : shape) n *= extent;
    return n;
  }
  static std::vector<int64_t> dense(const std::vector<int64_t> &shape) {
    std::vector<int64_t> strides(shape.size(), 1);
    for (size_t i = shape.size(); i-- > 1;) strides[i - 1] = strides[i] * shape[i];
    return strides;
  }

  template <class Function>
  static void for_each(const Placed &p, const Function &function) {
    const int64_t all = count(p.shape);
    for (int64_t i = 0; i < all; ++i) {
      int64_t at = p.first, rest = i;
      for (size_t d = p.shape.size(); d-- > 0;) {
        at += rest % p.shape[d] * p.strides[d];
        rest /= p.shape[d];
      }
      function(i, at);
    }
  }

  static void put(const Placed &p, int64_t at, double x) {
    char *to = p.data + at * p.size;
    const auto as = [&](auto value) { std::memcpy(to, &value, sizeof value); };
    switch (p.dtype) {
      case JD_F32: return as(static_cast<float>(x));
      case JD_I32: return as(std::isnan(x) ? INT32_MIN : static_cast<int32_t>(x));
      case JD_I64: return as(std::isnan(x) ? INT64_MIN : static_cast<int64_t>(x));
      case JD_F8_E4M3:
      case JD_U8:
      case JD_I8: return as(std::isnan(x) ? uint8_t{0xff} : static_cast<uint8_t>(static_cast<int>(x)));
      default: return as(to_half_bits(x, p.dtype));
    }
  }

  // `values` from row `first_row` of dimension 0 on.
  jd_tensor make(int32_t dtype, const std::vector<int64_t> &shape, const std::vector<int64_t> &strides, int64_t first_row,
                 const std::vector<double> &values) {
    const int64_t size = jd_dtype_size(dtype);
    int64_t last = 0;
    for (size_t i = 0; i < shape.size(); ++i) last += (shape[i] - 1) * strides[i];
    const size_t bytes = static_cast<size_t>((last + 1) * size);
    void *data = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (data == MAP_FAILED) {
      ADD_FAILURE() << "no address space for " << bytes << " bytes (none of it memory): " << std::strerror(errno)
                    << "; see ulimit -v and vm.overcommit_memory";
      std::abort();  // nothing else can run
    }
    madvise(data, bytes, MADV_NOHUGEPAGE);  // one row touched, one small page
    blocks_.push_back({data, bytes});
    Placed p{static_cast<char *>(data), dtype, size, first_row * strides[0], shape, strides};
    p.shape[0] -= first_row;
    for_each(p, [&](int64_t i, int64_t at) { put(p, at, values[static_cast<size_t>(i)]); });
    Error error;
    jd_tensor t = 0;
    rig.check(jd_tensor_wrap(rig.device, data, dtype, static_cast<int32_t>(shape.size()), shape.data(), strides.data(), &t, &error),
              error);
    tensors_.push_back(t);
    placed_.push_back(p);
    return t;
  }

  std::vector<Block> blocks_;
  std::vector<jd_tensor> tensors_;
  std::vector<Placed> placed_;
};

// A suite of such tests. What a test touches stays small.
class WideTest : public ::testing::TestWithParam<std::string> {
 protected:
  static constexpr int64_t kMostTouched = int64_t{200} << 20;  // bytes

  void SetUp() override {
    if (GetParam().rfind("cuda", 0) == 0) {
      GTEST_SKIP() << "memory of the host cannot stand in for a GPU's: kernels are tested in the emulator (simt), indices in "
                      "kernel_wide_index_test";
    }
    rig = std::make_unique<Rig>(GetParam());
    before_ = peak();
  }
  void TearDown() override {
#if !defined(__SANITIZE_ADDRESS__)  // it keeps memory of its own for each byte that is touched
    if (rig) {
      EXPECT_LT(peak() - before_, kMostTouched) << "bytes touched";
    }
#endif
  }

  // The f32 numbers of these bits.
  static std::vector<double> numbers_of(const std::vector<uint64_t> &bits) {
    std::vector<double> values;
    for (const uint64_t x : bits) {
      const auto low = static_cast<uint32_t>(x);
      float f;
      std::memcpy(&f, &low, sizeof f);
      values.push_back(f);
    }
    return values;
  }

  // call(memory) -> tensors of `memory` that hold results.
  template <class Call>
  void expect_same_bits(const std::string &what, const Call &call) {
    WideMemory narrow(*rig, false), wide(*rig, true);
    const std::vector<jd_tensor> expected = call(narrow), got = call(wide);
    ASSERT_EQ(expected.size(), got.size());
    for (size_t i = 0; i < expected.size(); ++i) {
      const std::vector<uint64_t> bits = narrow.bits(expected[i]);
      EXPECT_EQ(bits, wide.bits(got[i])) << what << ", result " << i;
      EXPECT_FALSE(std::all_of(bits.begin(), bits.end(), [](uint64_t x) { return x == 0; })) << what << ": a result that says nothing";
    }
  }

  // Where the length of a sequence is not the same, and with it the cut of its sums: f32 results within `tolerance`.
  template <class Call>
  void expect_close(const std::string &what, double tolerance, const Call &call) {
    WideMemory narrow(*rig, false), wide(*rig, true);
    expect_near(numbers_of(wide.bits(call(wide))), numbers_of(narrow.bits(call(narrow))), [&](size_t) { return tolerance; }, what);
  }

  // Makes a plan and runs it.
  template <class Desc, class Args>
  void run(const Desc &desc, const Args &args, jd_status (*plan_function)(jd_device, const Desc *, jd_plan *, jd_error *),
           jd_status (*run_function)(jd_plan, jd_stream, const Args *, jd_error *)) {
    Error error;
    jd_plan plan = 0;
    rig->check(plan_function(rig->device, &desc, &plan, &error), error);
    if (!plan) return;
    rig->check(run_function(plan, rig->stream, &args, &error), error);
    rig->check(jd_stream_synchronize(rig->stream, &error), error);
    jd_plan_destroy(plan, nullptr);
  }
  template <class Args>
  void run(const Args &args, jd_status (*function)(jd_stream, const Args *, jd_error *)) {
    Error error;
    rig->check(function(rig->stream, &args, &error), error);
    rig->check(jd_stream_synchronize(rig->stream, &error), error);
  }

  std::unique_ptr<Rig> rig;

 private:
  static int64_t peak() {
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    return int64_t{usage.ru_maxrss} * 1024;
  }
  int64_t before_ = 0;
};

}  // namespace jindou::testing

#endif
