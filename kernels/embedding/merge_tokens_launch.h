// merge_tokens: from a run to its launch (dispatch.h).
#ifndef JINDOU_KERNELS_EMBEDDING_MERGE_TOKENS_LAUNCH_H
#define JINDOU_KERNELS_EMBEDDING_MERGE_TOKENS_LAUNCH_H

#include "attention/launch_support.h"
#include "core/dtype.h"
#include "embedding/merge_tokens.h"

namespace jindou {

template <class Exec>
jd_status launch_merge_tokens(Exec &exec, const jdb_merge_tokens_args &args) {
  using Kernel = embedding::MergeTokensKernel;
  if (args.batch == 0) return JD_OK;
  const int64_t size = core::element_size(args.x.dtype);
  Kernel::Params p{};
  p.x = static_cast<const char *>(args.x.data);
  p.out = static_cast<char *>(args.out.data);
  p.x_stride = attention::stride_of(args.x, 0) * size;
  p.out_stride = attention::stride_of(args.out, 0) * size;
  p.offsets = attention::offsets_of(args.offsets);
  p.out_offsets = attention::offsets_of(args.out_offsets);
  p.batch = args.batch;
  p.rows = args.x.shape[0];
  p.out_rows = args.out.shape[0];
  p.k = args.k;
  p.chunks = static_cast<int32_t>(args.x.shape[1] * size / 16);
  p.sink = FaultSink{exec.faults(), exec.launch_number(), JDB_OP_MERGE_TOKENS, args.bounds};
  const int64_t items = attention::max_tiles(p.out_rows, int64_t{p.k} * p.chunks, args.batch, Kernel::kChunks);
  return exec.template launch<Kernel>(attention::grid_for(items, attention::kBlocksAMultiprocessor * exec.multiprocessors()), p);
}

}  // namespace jindou

#endif
