#include "simt/runtime/products.h"

#include <algorithm>
#include <cstring>

#include "primitives/types.h"
#include "simt/runtime/matrix.h"

namespace jindou::simt {

namespace {

constexpr int kDepth = 16;  // k of one instruction

// A matrix in shared memory by its descriptor (PTX ISA, "Matrix Descriptor Format"), swizzled by 128 bytes.
struct Operand {
  uint32_t address, leading, stride;
  int swizzle, base_offset;

  explicit Operand(uint64_t descriptor)
      : address(static_cast<uint32_t>(descriptor & 0x3fffu) << 4),
        leading(static_cast<uint32_t>(descriptor >> 16 & 0x3fffu) << 4),
        stride(static_cast<uint32_t>(descriptor >> 32 & 0x3fffu) << 4),
        swizzle(static_cast<int>(descriptor >> 62)),
        base_offset(static_cast<int>(descriptor >> 49 & 7u)) {}
};

class Reader {
 public:
  Reader(const Operand &operand, const SharedMemory &shared) : operand_(operand), shared_(shared) {
    if (operand.swizzle != 1) error_ = "operand without the 128-byte swizzle";
    if (operand.base_offset != 0 || (operand.address >> 7 & 7u) != 0)
      error_ = "operand that does not begin with a group of 8 rows (1024 bytes)";
  }

  // Eight elements at `offset` bytes from the operand's start.
  void read(uint32_t offset, float (&x)[8]) {
    const uint32_t address = operand_.address + offset;
    const uint32_t swizzled = address ^ ((address >> 7 & 7u) << 4);
    const void *at = shared_.at_window_address(swizzled, 16);
    if (at == nullptr) error_ = "operand outside of shared memory";
    if (error_ != nullptr) return;
    if (shared_.written_by(at) != 0) error_ = "operand written without a fence_proxy_async after it";
    uint16_t bits[8];
    memcpy(bits, at, 16);
    for (int i = 0; i < 8; ++i) x[i] = prim::to_float(prim::bf16{bits[i]});
  }

  const char *error() const { return error_; }

 private:
  const Operand operand_;
  const SharedMemory &shared_;
  const char *error_ = nullptr;
};

}  // namespace

Products::Sums *Products::find(const float *key) {
  for (Sums &sums : sums_) {
    if (sums.key == key) return &sums;
  }
  return nullptr;
}

const char *Products::issue(const Product &product, const SharedMemory &shared, Random &random) {
  Sums *sums = find(product.d[0]);
  const int count = product.n / 2;
  if (sums == nullptr) {
    sums = &sums_.emplace_back();
    sums->key = product.d[0];
    memcpy(sums->d, product.d, sizeof product.d);
    sums->count = count;
    sums->pending = 0;
    sums->values.resize(static_cast<size_t>(32 * count));
    for (int lane = 0; lane < 32; ++lane) {
      memcpy(&sums->values[static_cast<size_t>(lane * count)], product.d[lane], static_cast<size_t>(count) * 4);
      // Who reads them now must not get away with it.
      if (poison_) memset(product.d[lane], 0xff, static_cast<size_t>(count) * 4);
    }
  } else if (sums->count != count) {
    return "sums that a product of another shape on its way adds to";
  }
  ++sums->pending;
  queue_.push_back(product);
  if (completion_ == Completion::eager || (completion_ == Completion::random && random.below(3) == 0))
    return compute_until(issued(), shared);
  return nullptr;
}

const char *Products::wait(int pending, const SharedMemory &shared) {
  const size_t end = done_by(pending);
  const char *error = compute_until(end, shared);
  waited_ = std::max(waited_, end);
  while (first_group_ < group_ends_.size() && group_ends_[first_group_] <= waited_) ++first_group_;
  fenced_ = false;  // registers may be touched from here on
  if (waited_ - base_ > 64) {
    queue_.erase(queue_.begin(), queue_.begin() + static_cast<ptrdiff_t>(waited_ - base_));
    base_ = waited_;
    group_ends_.erase(group_ends_.begin(), group_ends_.begin() + static_cast<ptrdiff_t>(first_group_));
    first_group_ = 0;
  }
  return error;
}

const char *Products::compute_until(size_t end, const SharedMemory &shared) {
  for (; first_ < end; ++first_) {
    const Product &p = queue_[first_ - base_];
    float a[16][kDepth];
    const char *error = nullptr;
    if (p.left_in_registers) {
      for (int lane = 0; lane < 32; ++lane) {
        const int g = lane / 4, t = lane % 4;
        for (int i = 0; i < 4; ++i) {
          const int row = g + i % 2 * 8, column = 2 * t + i / 2 * 8;
          prim::unpack2<prim::bf16>(p.registers[lane][i], a[row][column], a[row][column + 1]);
        }
      }
    } else {
      const Operand operand(p.left);
      Reader reader(operand, shared);
      for (int row = 0; row < 16; ++row) {
        const auto m = static_cast<uint32_t>(p.warp * 16 + row);
        for (uint32_t half = 0; half < 2; ++half) {
          float x[8] = {};
          reader.read(m / 8 * operand.stride + m % 8 * 128 + half * 16, x);
          memcpy(&a[row][half * 8], x, sizeof x);
        }
      }
      error = reader.error();
    }
    alignas(Row) float b[kDepth][256];
    const Operand operand(p.right);
    Reader reader(operand, shared);
    if (p.columns) {
      for (uint32_t k = 0; k < kDepth; ++k) {
        for (uint32_t n = 0; n < static_cast<uint32_t>(p.n); n += 8) {
          float x[8] = {};
          reader.read(n / 64 * operand.leading + k / 8 * operand.stride + k % 8 * 128 + n % 64 * 2, x);
          memcpy(&b[k][n], x, sizeof x);
        }
      }
    } else {
      for (uint32_t n = 0; n < static_cast<uint32_t>(p.n); ++n) {
        for (uint32_t half = 0; half < 2; ++half) {
          float x[8] = {};
          reader.read(n / 8 * operand.stride + n % 8 * 128 + half * 16, x);
          for (int i = 0; i < 8; ++i) b[half * 8 + static_cast<uint32_t>(i)][n] = x[i];
        }
      }
    }
    if (error == nullptr) error = reader.error();
    if (error != nullptr) return error;

    // As mma.sync is emulated: the products' sum, then the addend.
    Sums &sums = *find(p.d[0]);
    for (int row = 0; row < 16; ++row) {
      for (int n = 0; n < p.n; n += 8) {
        Row sum = {};
        for (int k = 0; k < kDepth; ++k) sum += a[row][k] * reinterpret_cast<const Row &>(b[k][n]);
        for (int i = 0; i < 8; ++i) {
          const int lane = row % 8 * 4 + i / 2;
          float &d = sums.values[static_cast<size_t>(lane * sums.count + n / 8 * 4 + row / 8 * 2 + i % 2)];
          d = p.add ? d + sum[i] : sum[i];
        }
      }
    }
    if (--sums.pending == 0) {
      for (int lane = 0; lane < 32; ++lane) {
        for (int i = 0; poison_ && i < sums.count; ++i) {
          if (prim::as_uint(sums.d[lane][i]) != 0xffffffffu) return "sums that were written while a product was on its way";
        }
        memcpy(sums.d[lane], &sums.values[static_cast<size_t>(lane * sums.count)], static_cast<size_t>(sums.count) * 4);
      }
      sums_.erase(sums_.begin() + (&sums - sums_.data()));
    }
  }
  return nullptr;
}

}  // namespace jindou::simt
