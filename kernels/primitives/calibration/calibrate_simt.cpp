// The emulator against the dump: that the dump is current. `--write` makes it anew.
#include "primitives/calibration/calibration.h"
#include "simt/runtime/launch.h"
#include "simt/runtime/tensor_copies.h"

namespace {

struct Emulator {
  bool is_hopper() const { return true; }

  template <class K>
  std::vector<uint32_t> run(jindou::prim::Grid grid, const std::vector<uint32_t> &in, size_t out_words) {
    // 16-byte vectors are read and written.
    struct alignas(16) Vector {
      uint32_t words[4];
    };
    std::vector<Vector> source(in.size() / 4 + 1), target(out_words / 4 + 1);
    memcpy(source.data(), in.data(), in.size() * 4);
    jindou::simt::Options options;
    options.seed = 1;
    typename K::Params params{};
    params.in = source.data()->words;
    params.out = target.data()->words;
    if constexpr (std::is_same_v<typename K::Params, jindou::calibration::WordsAndMap>)
      params.map = jindou::simt::encode_tensor_map(K::geometry(params.in));
    jindou::simt::launch<K>(grid, params, options);
    std::vector<uint32_t> out(out_words);
    memcpy(out.data(), target.data(), out_words * 4);
    return out;
  }
};

}  // namespace

int main(int argc, char **argv) {
  Emulator emulator;
  try {
    return jindou::calibration::calibrate(emulator, argc, argv);
  } catch (const std::exception &e) {
    fprintf(stderr, "%s\n", e.what());
    return 1;
  }
}
