#include "decode/decode_attention_launch.h"
#include "cuda/executor.h"

namespace jindou {

template jd_status launch_decode_attention(cuda_backend::Executor &, const DecodeAttentionPlan &, const jdb_decode_attention_args &);

}  // namespace jindou
