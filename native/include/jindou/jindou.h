/* Jindou: inference kernels for large recommendation models. The whole C ABI. */
#ifndef JINDOU_JINDOU_H
#define JINDOU_JINDOU_H

#include <jindou/attention.h>
#include <jindou/base.h>
#include <jindou/beam_attention.h>
#include <jindou/blocks.h>
#include <jindou/decode.h>
#include <jindou/device.h>
#include <jindou/din_attention.h>
#include <jindou/embedding.h>
#include <jindou/hash_table.h>
#include <jindou/history_search.h>
#include <jindou/host_memory.h>
#include <jindou/longer_attention.h>
#include <jindou/merge_tokens.h>
#include <jindou/paged_cache.h>
#include <jindou/plan.h>
#include <jindou/quantize.h>
#include <jindou/rq.h>
#include <jindou/search_attention.h>
#include <jindou/sequence_embedding.h>
#include <jindou/softmax_attention.h>
#include <jindou/stca_attention.h>
#include <jindou/stream.h>
#include <jindou/tensor.h>
#include <jindou/top_k_inner_product.h>

#endif
