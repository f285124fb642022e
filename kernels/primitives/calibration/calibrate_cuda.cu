// A GPU against the emulator's dump.
#include <cuda_runtime.h>

#include <cstdlib>

#include "cuda/tensor_map.h"
#include "primitives/calibration/calibration.h"

namespace {

void check(cudaError_t status, const char *what) {
  if (status == cudaSuccess) return;
  fprintf(stderr, "%s: %s\n", what, cudaGetErrorString(status));
  exit(1);
}

struct Gpu {
  bool hopper;
  bool is_hopper() const { return hopper; }

  template <class K>
  std::vector<uint32_t> run(jindou::prim::Grid grid, const std::vector<uint32_t> &in, size_t out_words) {
    uint32_t *source = nullptr, *target = nullptr;
    check(cudaMalloc(&source, in.size() * 4), "cudaMalloc");
    check(cudaMalloc(&target, out_words * 4), "cudaMalloc");
    check(cudaMemcpy(source, in.data(), in.size() * 4, cudaMemcpyHostToDevice), "copy in");
    check(cudaMemset(target, 0, out_words * 4), "clear");
    typename K::Params params{};
    params.in = source;
    params.out = target;
    if constexpr (std::is_same_v<typename K::Params, jindou::calibration::WordsAndMap>) {
      if (!jindou::cuda_backend::encode_tensor_map(K::geometry(params.in), &params.map)) {
        fprintf(stderr, "the driver encodes no tensor map\n");
        exit(1);
      }
    }
    jindou::prim::entry<K><<<dim3(grid.x, grid.y, grid.z), K::kThreads, K::shared_bytes()>>>(params);
    check(cudaGetLastError(), "launch");
    check(cudaDeviceSynchronize(), "kernel");
    std::vector<uint32_t> out(out_words);
    check(cudaMemcpy(out.data(), target, out_words * 4, cudaMemcpyDeviceToHost), "copy out");
    check(cudaFree(source), "cudaFree");
    check(cudaFree(target), "cudaFree");
    return out;
  }
};

}  // namespace

int main(int argc, char **argv) {
  int devices = 0;
  if (cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0) {
    fprintf(stderr, "no GPU here\n");
    return 3;
  }
  cudaDeviceProp properties;
  check(cudaGetDeviceProperties(&properties, 0), "device");
  printf("%s, compute capability %d.%d\n", properties.name, properties.major, properties.minor);
  Gpu gpu{properties.major == 9 && properties.minor == 0};
  return jindou::calibration::calibrate(gpu, argc, argv);
}
