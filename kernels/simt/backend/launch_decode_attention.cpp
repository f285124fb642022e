#include "decode/decode_attention_launch.h"
#include "simt/backend/executor.h"

namespace jindou {

template jd_status launch_decode_attention(simt_backend::Executor &, const DecodeAttentionPlan &, const jdb_decode_attention_args &);

}  // namespace jindou
