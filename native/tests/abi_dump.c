/* Prints the C ABI as this compiler sees it, as one JSON object: sizes and offsets of every struct, the value of every
 * constant, the signature of every function. The tests of the bindings compare it with what Java believes.
 *
 * Stands alone: it includes the headers and links with nothing of Jindou: `cc -std=c11 -I native/include` will do.
 * Signatures are checked by the compiler against the headers; that nothing is missing is checked by abi_test. */
#include <jindou/jindou.h>

#include <stddef.h>
#include <stdio.h>

/* -- structs ------------------------------------------------------------------------------------------------- */

static const char *struct_separator = "";
static const char *field_separator = "";

static void begin_struct(const char *name, size_t size, size_t align) {
  printf("%s\n    \"%s\": {\"size\": %zu, \"align\": %zu, \"fields\": {", struct_separator, name, size, align);
  struct_separator = ",";
  field_separator = "";
}

static void field(const char *name, size_t offset, size_t size) {
  printf("%s\n      \"%s\": {\"offset\": %zu, \"size\": %zu}", field_separator, name, offset, size);
  field_separator = ",";
}

static void end_struct(void) { printf("}}"); }

#define FIELD(type, name) field(#name, offsetof(type, name), sizeof(((type *)0)->name))

/* -- constants ----------------------------------------------------------------------------------------------- */

static const char *constant_separator = "";

static void constant(const char *name, long long value) {
  printf("%s\n    \"%s\": %lld", constant_separator, name, value);
  constant_separator = ",";
}

#define CONSTANT(name) constant(#name, name)

/* -- functions ----------------------------------------------------------------------------------------------- */

/* The type's name as a foreign-function interface needs it. */
#define TYPE(type)               \
  _Generic(*(type *)0,           \
      uint8_t: "u8",             \
      int32_t: "i32",            \
      uint32_t: "u32",           \
      int64_t: "i64",            \
      uint64_t: "u64",           \
      float: "f32",              \
      double: "f64",             \
      default: "pointer")

/* TYPES(a, b, c) = TYPE(a), TYPE(b), TYPE(c) */
#define TYPES_1(a) TYPE(a)
#define TYPES_2(a, ...) TYPE(a), TYPES_1(__VA_ARGS__)
#define TYPES_3(a, ...) TYPE(a), TYPES_2(__VA_ARGS__)
#define TYPES_4(a, ...) TYPE(a), TYPES_3(__VA_ARGS__)
#define TYPES_5(a, ...) TYPE(a), TYPES_4(__VA_ARGS__)
#define TYPES_6(a, ...) TYPE(a), TYPES_5(__VA_ARGS__)
#define TYPES_7(a, ...) TYPE(a), TYPES_6(__VA_ARGS__)
#define TYPES_8(a, ...) TYPE(a), TYPES_7(__VA_ARGS__)
#define TYPES_PICK(a, b, c, d, e, f, g, h, pick, ...) pick
#define TYPES(...)                                                                                              \
  TYPES_PICK(__VA_ARGS__, TYPES_8, TYPES_7, TYPES_6, TYPES_5, TYPES_4, TYPES_3, TYPES_2, TYPES_1, unused)       \
  (__VA_ARGS__)

static const char *function_separator = "";

static void function(const char *name, const char *returns, const char *const *parameters) {
  printf("%s\n    \"%s\": {\"returns\": \"%s\", \"parameters\": [", function_separator, name, returns);
  function_separator = ",";
  for (const char *separator = ""; *parameters; ++parameters, separator = ", ") {
    printf("%s\"%s\"", separator, *parameters);
  }
  printf("]}");
}

#define FUNCTION(result, name, ...)                                                                   \
  do {                                                                                                \
    _Static_assert(__builtin_types_compatible_p(__typeof__(&name), result (*)(__VA_ARGS__)), #name);  \
    static const char *const parameters[] = {TYPES(__VA_ARGS__), NULL};                               \
    function(#name, TYPE(result), parameters);                                                        \
  } while (0)

#define FUNCTION_OF_NOTHING(result, name)                                                      \
  do {                                                                                         \
    _Static_assert(__builtin_types_compatible_p(__typeof__(&name), result (*)(void)), #name);  \
    static const char *const parameters[] = {NULL};                                            \
    function(#name, TYPE(result), parameters);                                                 \
  } while (0)

/* -- the ABI ------------------------------------------------------------------------------------------------- */

static void structs(void) {
  begin_struct("jd_error", sizeof(jd_error), _Alignof(jd_error));
  FIELD(jd_error, struct_size); FIELD(jd_error, status); FIELD(jd_error, backend_code); FIELD(jd_error, table);
  FIELD(jd_error, position); FIELD(jd_error, value); FIELD(jd_error, message);
  end_struct();
  begin_struct("jd_device_options", sizeof(jd_device_options), _Alignof(jd_device_options));
  FIELD(jd_device_options, struct_size); FIELD(jd_device_options, num_threads);
  FIELD(jd_device_options, memory_limit_bytes); FIELD(jd_device_options, simt_seed);
  FIELD(jd_device_options, late_streams); FIELD(jd_device_options, reserved);
  end_struct();
  begin_struct("jd_device_info", sizeof(jd_device_info), _Alignof(jd_device_info));
  FIELD(jd_device_info, struct_size); FIELD(jd_device_info, ordinal); FIELD(jd_device_info, num_threads);
  FIELD(jd_device_info, compute_capability); FIELD(jd_device_info, total_memory_bytes);
  FIELD(jd_device_info, host_memory); FIELD(jd_device_info, driver_version); FIELD(jd_device_info, backend);
  FIELD(jd_device_info, name); FIELD(jd_device_info, isa);
  end_struct();
  begin_struct("jd_memory_info", sizeof(jd_memory_info), _Alignof(jd_memory_info));
  FIELD(jd_memory_info, struct_size); FIELD(jd_memory_info, reserved); FIELD(jd_memory_info, used_bytes);
  FIELD(jd_memory_info, peak_bytes); FIELD(jd_memory_info, limit_bytes);
  end_struct();
  begin_struct("jd_tensor_info", sizeof(jd_tensor_info), _Alignof(jd_tensor_info));
  FIELD(jd_tensor_info, struct_size); FIELD(jd_tensor_info, dtype); FIELD(jd_tensor_info, rank);
  FIELD(jd_tensor_info, owned); FIELD(jd_tensor_info, shape); FIELD(jd_tensor_info, strides);
  FIELD(jd_tensor_info, data); FIELD(jd_tensor_info, size_bytes);
  end_struct();
  begin_struct("jd_embedding_bag_desc", sizeof(jd_embedding_bag_desc), _Alignof(jd_embedding_bag_desc));
  FIELD(jd_embedding_bag_desc, struct_size); FIELD(jd_embedding_bag_desc, num_tables);
  FIELD(jd_embedding_bag_desc, tables); FIELD(jd_embedding_bag_desc, table_pooling);
  FIELD(jd_embedding_bag_desc, pooling); FIELD(jd_embedding_bag_desc, bounds);
  FIELD(jd_embedding_bag_desc, mean_denominator); FIELD(jd_embedding_bag_desc, index_dtype);
  FIELD(jd_embedding_bag_desc, offset_dtype); FIELD(jd_embedding_bag_desc, out_dtype);
  FIELD(jd_embedding_bag_desc, weighted); FIELD(jd_embedding_bag_desc, has_padding_id);
  FIELD(jd_embedding_bag_desc, padding_id); FIELD(jd_embedding_bag_desc, max_batch);
  FIELD(jd_embedding_bag_desc, max_ids); FIELD(jd_embedding_bag_desc, row_formats);
  FIELD(jd_embedding_bag_desc, dims); FIELD(jd_embedding_bag_desc, table_keys);
  FIELD(jd_embedding_bag_desc, split_out); FIELD(jd_embedding_bag_desc, reserved);
  end_struct();
  begin_struct("jd_key_function", sizeof(jd_key_function), _Alignof(jd_key_function));
  FIELD(jd_key_function, kind); FIELD(jd_key_function, reserved); FIELD(jd_key_function, first_row);
  FIELD(jd_key_function, num_rows); FIELD(jd_key_function, divisor); FIELD(jd_key_function, seed);
  end_struct();
  begin_struct("jd_table_keys", sizeof(jd_table_keys), _Alignof(jd_table_keys));
  FIELD(jd_table_keys, num_functions); FIELD(jd_table_keys, combine); FIELD(jd_table_keys, functions);
  end_struct();
  begin_struct("jd_embedding_bag_args", sizeof(jd_embedding_bag_args), _Alignof(jd_embedding_bag_args));
  FIELD(jd_embedding_bag_args, struct_size); FIELD(jd_embedding_bag_args, reserved);
  FIELD(jd_embedding_bag_args, ids); FIELD(jd_embedding_bag_args, offsets); FIELD(jd_embedding_bag_args, weights);
  FIELD(jd_embedding_bag_args, out); FIELD(jd_embedding_bag_args, out_scales);
  end_struct();
  begin_struct("jd_target_attention_desc", sizeof(jd_target_attention_desc), _Alignof(jd_target_attention_desc));
  FIELD(jd_target_attention_desc, struct_size); FIELD(jd_target_attention_desc, dtype);
  FIELD(jd_target_attention_desc, out_dtype); FIELD(jd_target_attention_desc, offset_dtype);
  FIELD(jd_target_attention_desc, num_heads); FIELD(jd_target_attention_desc, num_kv_heads);
  FIELD(jd_target_attention_desc, head_dim_qk); FIELD(jd_target_attention_desc, head_dim_v);
  FIELD(jd_target_attention_desc, scale); FIELD(jd_target_attention_desc, activation);
  FIELD(jd_target_attention_desc, scaling_seqlen); FIELD(jd_target_attention_desc, self_key);
  FIELD(jd_target_attention_desc, bounds); FIELD(jd_target_attention_desc, reserved);
  FIELD(jd_target_attention_desc, num_latest); FIELD(jd_target_attention_desc, max_batch);
  FIELD(jd_target_attention_desc, max_candidates); FIELD(jd_target_attention_desc, max_history);
  end_struct();
  begin_struct("jd_target_attention_args", sizeof(jd_target_attention_args), _Alignof(jd_target_attention_args));
  FIELD(jd_target_attention_args, struct_size); FIELD(jd_target_attention_args, reserved);
  FIELD(jd_target_attention_args, candidates); FIELD(jd_target_attention_args, candidate_offsets);
  FIELD(jd_target_attention_args, keys); FIELD(jd_target_attention_args, values);
  FIELD(jd_target_attention_args, history_offsets); FIELD(jd_target_attention_args, candidate_keys);
  FIELD(jd_target_attention_args, candidate_values); FIELD(jd_target_attention_args, out);
  end_struct();
  begin_struct("jd_hstu_attention_desc", sizeof(jd_hstu_attention_desc), _Alignof(jd_hstu_attention_desc));
  FIELD(jd_hstu_attention_desc, struct_size); FIELD(jd_hstu_attention_desc, dtype);
  FIELD(jd_hstu_attention_desc, out_dtype); FIELD(jd_hstu_attention_desc, offset_dtype);
  FIELD(jd_hstu_attention_desc, num_heads); FIELD(jd_hstu_attention_desc, head_dim_qk);
  FIELD(jd_hstu_attention_desc, head_dim_v); FIELD(jd_hstu_attention_desc, alpha);
  FIELD(jd_hstu_attention_desc, scaling_seqlen); FIELD(jd_hstu_attention_desc, causal);
  FIELD(jd_hstu_attention_desc, contextual_seq_len); FIELD(jd_hstu_attention_desc, max_attn_len);
  FIELD(jd_hstu_attention_desc, min_full_attn_seq_len); FIELD(jd_hstu_attention_desc, bounds);
  FIELD(jd_hstu_attention_desc, max_batch); FIELD(jd_hstu_attention_desc, max_seq_len);
  end_struct();
  begin_struct("jd_hstu_attention_args", sizeof(jd_hstu_attention_args), _Alignof(jd_hstu_attention_args));
  FIELD(jd_hstu_attention_args, struct_size); FIELD(jd_hstu_attention_args, reserved);
  FIELD(jd_hstu_attention_args, queries); FIELD(jd_hstu_attention_args, keys);
  FIELD(jd_hstu_attention_args, values); FIELD(jd_hstu_attention_args, offsets);
  FIELD(jd_hstu_attention_args, num_targets); FIELD(jd_hstu_attention_args, attn_scale);
  FIELD(jd_hstu_attention_args, out); FIELD(jd_hstu_attention_args, q_offsets);
  FIELD(jd_hstu_attention_args, timestamps); FIELD(jd_hstu_attention_args, position_bias);
  FIELD(jd_hstu_attention_args, time_bias); FIELD(jd_hstu_attention_args, key_pages);
  FIELD(jd_hstu_attention_args, value_pages); FIELD(jd_hstu_attention_args, page_table);
  FIELD(jd_hstu_attention_args, seq_lens); FIELD(jd_hstu_attention_args, key_scales);
  FIELD(jd_hstu_attention_args, value_scales);
  end_struct();
  begin_struct("jd_decode_attention_desc", sizeof(jd_decode_attention_desc), _Alignof(jd_decode_attention_desc));
  FIELD(jd_decode_attention_desc, struct_size);
  FIELD(jd_decode_attention_desc, dtype);
  FIELD(jd_decode_attention_desc, out_dtype);
  FIELD(jd_decode_attention_desc, cache_dtype);
  FIELD(jd_decode_attention_desc, offset_dtype);
  FIELD(jd_decode_attention_desc, num_heads);
  FIELD(jd_decode_attention_desc, num_kv_heads);
  FIELD(jd_decode_attention_desc, head_dim_qk);
  FIELD(jd_decode_attention_desc, head_dim_v);
  FIELD(jd_decode_attention_desc, scale);
  FIELD(jd_decode_attention_desc, bounds);
  FIELD(jd_decode_attention_desc, max_queries);
  FIELD(jd_decode_attention_desc, max_batch);
  FIELD(jd_decode_attention_desc, max_seq_len);
  end_struct();
  begin_struct("jd_decode_attention_args", sizeof(jd_decode_attention_args), _Alignof(jd_decode_attention_args));
  FIELD(jd_decode_attention_args, struct_size);
  FIELD(jd_decode_attention_args, reserved);
  FIELD(jd_decode_attention_args, queries);
  FIELD(jd_decode_attention_args, q_offsets);
  FIELD(jd_decode_attention_args, key_pages);
  FIELD(jd_decode_attention_args, value_pages);
  FIELD(jd_decode_attention_args, page_table);
  FIELD(jd_decode_attention_args, seq_lens);
  FIELD(jd_decode_attention_args, key_scales);
  FIELD(jd_decode_attention_args, value_scales);
  FIELD(jd_decode_attention_args, out);
  FIELD(jd_decode_attention_args, lse);
  end_struct();
  begin_struct("jd_softmax_attention_desc", sizeof(jd_softmax_attention_desc), _Alignof(jd_softmax_attention_desc));
  FIELD(jd_softmax_attention_desc, struct_size);
  FIELD(jd_softmax_attention_desc, dtype);
  FIELD(jd_softmax_attention_desc, out_dtype);
  FIELD(jd_softmax_attention_desc, offset_dtype);
  FIELD(jd_softmax_attention_desc, num_heads);
  FIELD(jd_softmax_attention_desc, num_kv_heads);
  FIELD(jd_softmax_attention_desc, head_dim_qk);
  FIELD(jd_softmax_attention_desc, head_dim_v);
  FIELD(jd_softmax_attention_desc, scale);
  FIELD(jd_softmax_attention_desc, softcap);
  FIELD(jd_softmax_attention_desc, mask);
  FIELD(jd_softmax_attention_desc, left);
  FIELD(jd_softmax_attention_desc, right);
  FIELD(jd_softmax_attention_desc, sink);
  FIELD(jd_softmax_attention_desc, prefix);
  FIELD(jd_softmax_attention_desc, num_global);
  FIELD(jd_softmax_attention_desc, bias);
  FIELD(jd_softmax_attention_desc, t5_num_buckets);
  FIELD(jd_softmax_attention_desc, t5_max_distance);
  FIELD(jd_softmax_attention_desc, t5_bidirectional);
  FIELD(jd_softmax_attention_desc, bounds);
  FIELD(jd_softmax_attention_desc, reserved);
  FIELD(jd_softmax_attention_desc, max_batch);
  FIELD(jd_softmax_attention_desc, max_queries);
  FIELD(jd_softmax_attention_desc, max_keys);
  end_struct();
  begin_struct("jd_softmax_attention_args", sizeof(jd_softmax_attention_args), _Alignof(jd_softmax_attention_args));
  FIELD(jd_softmax_attention_args, struct_size);
  FIELD(jd_softmax_attention_args, reserved);
  FIELD(jd_softmax_attention_args, queries);
  FIELD(jd_softmax_attention_args, q_offsets);
  FIELD(jd_softmax_attention_args, keys);
  FIELD(jd_softmax_attention_args, values);
  FIELD(jd_softmax_attention_args, k_offsets);
  FIELD(jd_softmax_attention_args, alibi_slopes);
  FIELD(jd_softmax_attention_args, t5_bias);
  FIELD(jd_softmax_attention_args, bias);
  FIELD(jd_softmax_attention_args, out);
  FIELD(jd_softmax_attention_args, lse);
  end_struct();
  begin_struct("jd_merge_attention_states_args", sizeof(jd_merge_attention_states_args), _Alignof(jd_merge_attention_states_args));
  FIELD(jd_merge_attention_states_args, struct_size);
  FIELD(jd_merge_attention_states_args, reserved);
  FIELD(jd_merge_attention_states_args, out_a);
  FIELD(jd_merge_attention_states_args, lse_a);
  FIELD(jd_merge_attention_states_args, out_b);
  FIELD(jd_merge_attention_states_args, lse_b);
  FIELD(jd_merge_attention_states_args, out);
  FIELD(jd_merge_attention_states_args, lse);
  end_struct();

  begin_struct("jd_hash_table_desc", sizeof(jd_hash_table_desc), _Alignof(jd_hash_table_desc));
  FIELD(jd_hash_table_desc, struct_size);
  FIELD(jd_hash_table_desc, dtype);
  FIELD(jd_hash_table_desc, dim);
  FIELD(jd_hash_table_desc, eviction);
  FIELD(jd_hash_table_desc, admission);
  FIELD(jd_hash_table_desc, missing);
  FIELD(jd_hash_table_desc, bounds);
  FIELD(jd_hash_table_desc, reserved);
  end_struct();

  begin_struct("jd_hash_table_args", sizeof(jd_hash_table_args), _Alignof(jd_hash_table_args));
  FIELD(jd_hash_table_args, struct_size);
  FIELD(jd_hash_table_args, reserved);
  FIELD(jd_hash_table_args, tick);
  FIELD(jd_hash_table_args, table_keys);
  FIELD(jd_hash_table_args, table_rows);
  FIELD(jd_hash_table_args, table_scores);
  FIELD(jd_hash_table_args, table_sights);
  FIELD(jd_hash_table_args, table_size);
  FIELD(jd_hash_table_args, keys);
  FIELD(jd_hash_table_args, rows);
  FIELD(jd_hash_table_args, scores);
  FIELD(jd_hash_table_args, default_row);
  FIELD(jd_hash_table_args, slots);
  FIELD(jd_hash_table_args, outcomes);
  FIELD(jd_hash_table_args, evicted_keys);
  end_struct();

  begin_struct("jd_longer_attention_desc", sizeof(jd_longer_attention_desc), _Alignof(jd_longer_attention_desc));
  FIELD(jd_longer_attention_desc, struct_size);
  FIELD(jd_longer_attention_desc, dtype);
  FIELD(jd_longer_attention_desc, out_dtype);
  FIELD(jd_longer_attention_desc, cache_dtype);
  FIELD(jd_longer_attention_desc, offset_dtype);
  FIELD(jd_longer_attention_desc, num_heads);
  FIELD(jd_longer_attention_desc, num_kv_heads);
  FIELD(jd_longer_attention_desc, head_dim_qk);
  FIELD(jd_longer_attention_desc, head_dim_v);
  FIELD(jd_longer_attention_desc, scale);
  FIELD(jd_longer_attention_desc, num_global);
  FIELD(jd_longer_attention_desc, num_shared_globals);
  FIELD(jd_longer_attention_desc, candidates_only);
  FIELD(jd_longer_attention_desc, bounds);
  FIELD(jd_longer_attention_desc, max_batch);
  FIELD(jd_longer_attention_desc, max_candidates);
  FIELD(jd_longer_attention_desc, max_recent);
  FIELD(jd_longer_attention_desc, max_history);
  end_struct();
  begin_struct("jd_longer_attention_args", sizeof(jd_longer_attention_args), _Alignof(jd_longer_attention_args));
  FIELD(jd_longer_attention_args, struct_size);
  FIELD(jd_longer_attention_args, reserved);
  FIELD(jd_longer_attention_args, queries);
  FIELD(jd_longer_attention_args, q_offsets);
  FIELD(jd_longer_attention_args, global_keys);
  FIELD(jd_longer_attention_args, global_values);
  FIELD(jd_longer_attention_args, global_offsets);
  FIELD(jd_longer_attention_args, keys);
  FIELD(jd_longer_attention_args, values);
  FIELD(jd_longer_attention_args, k_offsets);
  FIELD(jd_longer_attention_args, key_pages);
  FIELD(jd_longer_attention_args, value_pages);
  FIELD(jd_longer_attention_args, page_table);
  FIELD(jd_longer_attention_args, seq_lens);
  FIELD(jd_longer_attention_args, key_scales);
  FIELD(jd_longer_attention_args, value_scales);
  FIELD(jd_longer_attention_args, out);
  FIELD(jd_longer_attention_args, lse);
  end_struct();
  begin_struct("jd_merge_tokens_args", sizeof(jd_merge_tokens_args), _Alignof(jd_merge_tokens_args));
  FIELD(jd_merge_tokens_args, struct_size);
  FIELD(jd_merge_tokens_args, k);
  FIELD(jd_merge_tokens_args, bounds);
  FIELD(jd_merge_tokens_args, reserved);
  FIELD(jd_merge_tokens_args, x);
  FIELD(jd_merge_tokens_args, offsets);
  FIELD(jd_merge_tokens_args, out);
  FIELD(jd_merge_tokens_args, out_offsets);
  end_struct();
  begin_struct("jd_beam_attention_desc", sizeof(jd_beam_attention_desc), _Alignof(jd_beam_attention_desc));
  FIELD(jd_beam_attention_desc, struct_size);
  FIELD(jd_beam_attention_desc, dtype);
  FIELD(jd_beam_attention_desc, out_dtype);
  FIELD(jd_beam_attention_desc, cache_dtype);
  FIELD(jd_beam_attention_desc, offset_dtype);
  FIELD(jd_beam_attention_desc, num_heads);
  FIELD(jd_beam_attention_desc, num_kv_heads);
  FIELD(jd_beam_attention_desc, head_dim_qk);
  FIELD(jd_beam_attention_desc, head_dim_v);
  FIELD(jd_beam_attention_desc, scale);
  FIELD(jd_beam_attention_desc, bounds);
  FIELD(jd_beam_attention_desc, max_beams);
  FIELD(jd_beam_attention_desc, max_batch);
  FIELD(jd_beam_attention_desc, max_prefix);
  end_struct();
  begin_struct("jd_beam_attention_args", sizeof(jd_beam_attention_args), _Alignof(jd_beam_attention_args));
  FIELD(jd_beam_attention_args, struct_size);
  FIELD(jd_beam_attention_args, reserved);
  FIELD(jd_beam_attention_args, queries);
  FIELD(jd_beam_attention_args, beam_offsets);
  FIELD(jd_beam_attention_args, keys);
  FIELD(jd_beam_attention_args, values);
  FIELD(jd_beam_attention_args, prefix_offsets);
  FIELD(jd_beam_attention_args, key_pages);
  FIELD(jd_beam_attention_args, value_pages);
  FIELD(jd_beam_attention_args, page_table);
  FIELD(jd_beam_attention_args, seq_lens);
  FIELD(jd_beam_attention_args, key_scales);
  FIELD(jd_beam_attention_args, value_scales);
  FIELD(jd_beam_attention_args, suffix_keys);
  FIELD(jd_beam_attention_args, suffix_values);
  FIELD(jd_beam_attention_args, ancestry);
  FIELD(jd_beam_attention_args, suffix_lens);
  FIELD(jd_beam_attention_args, out);
  FIELD(jd_beam_attention_args, lse);
  end_struct();
  begin_struct("jd_din_attention_desc", sizeof(jd_din_attention_desc), _Alignof(jd_din_attention_desc));
  FIELD(jd_din_attention_desc, struct_size);
  FIELD(jd_din_attention_desc, dtype);
  FIELD(jd_din_attention_desc, out_dtype);
  FIELD(jd_din_attention_desc, offset_dtype);
  FIELD(jd_din_attention_desc, dim);
  FIELD(jd_din_attention_desc, dim_v);
  FIELD(jd_din_attention_desc, hidden_1);
  FIELD(jd_din_attention_desc, hidden_2);
  FIELD(jd_din_attention_desc, activation);
  FIELD(jd_din_attention_desc, softmax);
  FIELD(jd_din_attention_desc, scale);
  FIELD(jd_din_attention_desc, dice_eps);
  FIELD(jd_din_attention_desc, bounds);
  FIELD(jd_din_attention_desc, reserved);
  FIELD(jd_din_attention_desc, num_latest);
  FIELD(jd_din_attention_desc, max_batch);
  FIELD(jd_din_attention_desc, max_candidates);
  FIELD(jd_din_attention_desc, max_history);
  end_struct();
  begin_struct("jd_din_attention_args", sizeof(jd_din_attention_args), _Alignof(jd_din_attention_args));
  FIELD(jd_din_attention_args, struct_size);
  FIELD(jd_din_attention_args, reserved);
  FIELD(jd_din_attention_args, candidates);
  FIELD(jd_din_attention_args, candidate_offsets);
  FIELD(jd_din_attention_args, keys);
  FIELD(jd_din_attention_args, values);
  FIELD(jd_din_attention_args, history_offsets);
  FIELD(jd_din_attention_args, weight_1);
  FIELD(jd_din_attention_args, bias_1);
  FIELD(jd_din_attention_args, slope_1);
  FIELD(jd_din_attention_args, mean_1);
  FIELD(jd_din_attention_args, variance_1);
  FIELD(jd_din_attention_args, weight_2);
  FIELD(jd_din_attention_args, bias_2);
  FIELD(jd_din_attention_args, slope_2);
  FIELD(jd_din_attention_args, mean_2);
  FIELD(jd_din_attention_args, variance_2);
  FIELD(jd_din_attention_args, weight_3);
  FIELD(jd_din_attention_args, bias_3);
  FIELD(jd_din_attention_args, out);
  end_struct();
  begin_struct("jd_stca_attention_desc", sizeof(jd_stca_attention_desc), _Alignof(jd_stca_attention_desc));
  FIELD(jd_stca_attention_desc, struct_size);
  FIELD(jd_stca_attention_desc, dtype);
  FIELD(jd_stca_attention_desc, out_dtype);
  FIELD(jd_stca_attention_desc, offset_dtype);
  FIELD(jd_stca_attention_desc, model_dim);
  FIELD(jd_stca_attention_desc, num_heads);
  FIELD(jd_stca_attention_desc, head_dim);
  FIELD(jd_stca_attention_desc, scale);
  FIELD(jd_stca_attention_desc, path);
  FIELD(jd_stca_attention_desc, keep_keys);
  FIELD(jd_stca_attention_desc, bounds);
  FIELD(jd_stca_attention_desc, reserved);
  FIELD(jd_stca_attention_desc, max_batch);
  FIELD(jd_stca_attention_desc, max_candidates);
  FIELD(jd_stca_attention_desc, max_history);
  FIELD(jd_stca_attention_desc, max_total_candidates);
  FIELD(jd_stca_attention_desc, max_total_events);
  end_struct();
  begin_struct("jd_stca_attention_args", sizeof(jd_stca_attention_args), _Alignof(jd_stca_attention_args));
  FIELD(jd_stca_attention_args, struct_size);
  FIELD(jd_stca_attention_args, reserved);
  FIELD(jd_stca_attention_args, candidates);
  FIELD(jd_stca_attention_args, candidate_offsets);
  FIELD(jd_stca_attention_args, events);
  FIELD(jd_stca_attention_args, history_offsets);
  FIELD(jd_stca_attention_args, query_weight);
  FIELD(jd_stca_attention_args, key_weight);
  FIELD(jd_stca_attention_args, value_weight);
  FIELD(jd_stca_attention_args, keys);
  FIELD(jd_stca_attention_args, values);
  FIELD(jd_stca_attention_args, out);
  end_struct();
  begin_struct("jd_paged_cache_desc", sizeof(jd_paged_cache_desc), _Alignof(jd_paged_cache_desc));
  FIELD(jd_paged_cache_desc, struct_size);
  FIELD(jd_paged_cache_desc, dtype);
  FIELD(jd_paged_cache_desc, cache_dtype);
  FIELD(jd_paged_cache_desc, offset_dtype);
  FIELD(jd_paged_cache_desc, page_size);
  FIELD(jd_paged_cache_desc, num_kv_heads);
  FIELD(jd_paged_cache_desc, head_dim_k);
  FIELD(jd_paged_cache_desc, head_dim_v);
  FIELD(jd_paged_cache_desc, bounds);
  FIELD(jd_paged_cache_desc, reserved);
  FIELD(jd_paged_cache_desc, max_batch);
  end_struct();
  begin_struct("jd_paged_cache_args", sizeof(jd_paged_cache_args), _Alignof(jd_paged_cache_args));
  FIELD(jd_paged_cache_args, struct_size);
  FIELD(jd_paged_cache_args, reserved);
  FIELD(jd_paged_cache_args, keys);
  FIELD(jd_paged_cache_args, values);
  FIELD(jd_paged_cache_args, offsets);
  FIELD(jd_paged_cache_args, key_pages);
  FIELD(jd_paged_cache_args, value_pages);
  FIELD(jd_paged_cache_args, page_table);
  FIELD(jd_paged_cache_args, seq_lens);
  FIELD(jd_paged_cache_args, key_scales);
  FIELD(jd_paged_cache_args, value_scales);
  end_struct();
  begin_struct("jd_sequence_embedding_desc", sizeof(jd_sequence_embedding_desc), _Alignof(jd_sequence_embedding_desc));
  FIELD(jd_sequence_embedding_desc, struct_size); FIELD(jd_sequence_embedding_desc, num_tables);
  FIELD(jd_sequence_embedding_desc, tables); FIELD(jd_sequence_embedding_desc, row_formats);
  FIELD(jd_sequence_embedding_desc, dims); FIELD(jd_sequence_embedding_desc, combine);
  FIELD(jd_sequence_embedding_desc, bounds); FIELD(jd_sequence_embedding_desc, index_dtype);
  FIELD(jd_sequence_embedding_desc, offset_dtype); FIELD(jd_sequence_embedding_desc, out_dtype);
  FIELD(jd_sequence_embedding_desc, has_padding_id); FIELD(jd_sequence_embedding_desc, padding_id);
  FIELD(jd_sequence_embedding_desc, position_table); FIELD(jd_sequence_embedding_desc, time_table);
  FIELD(jd_sequence_embedding_desc, scale); FIELD(jd_sequence_embedding_desc, position_mode);
  FIELD(jd_sequence_embedding_desc, contextual_len); FIELD(jd_sequence_embedding_desc, time_function);
  FIELD(jd_sequence_embedding_desc, max_time_bucket); FIELD(jd_sequence_embedding_desc, has_num_targets);
  FIELD(jd_sequence_embedding_desc, time_unit); FIELD(jd_sequence_embedding_desc, has_query_times);
  FIELD(jd_sequence_embedding_desc, reserved); FIELD(jd_sequence_embedding_desc, max_batch);
  FIELD(jd_sequence_embedding_desc, max_events); FIELD(jd_sequence_embedding_desc, table_keys);
  FIELD(jd_sequence_embedding_desc, position_format); FIELD(jd_sequence_embedding_desc, time_format);
  end_struct();
  begin_struct("jd_sequence_embedding_args", sizeof(jd_sequence_embedding_args), _Alignof(jd_sequence_embedding_args));
  FIELD(jd_sequence_embedding_args, struct_size); FIELD(jd_sequence_embedding_args, reserved);
  FIELD(jd_sequence_embedding_args, ids); FIELD(jd_sequence_embedding_args, offsets);
  FIELD(jd_sequence_embedding_args, timestamps); FIELD(jd_sequence_embedding_args, query_times);
  FIELD(jd_sequence_embedding_args, num_targets); FIELD(jd_sequence_embedding_args, out);
  end_struct();
  begin_struct("jd_rq_encode_desc", sizeof(jd_rq_encode_desc), _Alignof(jd_rq_encode_desc));
  FIELD(jd_rq_encode_desc, struct_size); FIELD(jd_rq_encode_desc, dtype); FIELD(jd_rq_encode_desc, dim);
  FIELD(jd_rq_encode_desc, num_levels); FIELD(jd_rq_encode_desc, num_codes); FIELD(jd_rq_encode_desc, reserved);
  end_struct();
  begin_struct("jd_rq_encode_args", sizeof(jd_rq_encode_args), _Alignof(jd_rq_encode_args));
  FIELD(jd_rq_encode_args, struct_size); FIELD(jd_rq_encode_args, reserved); FIELD(jd_rq_encode_args, x);
  FIELD(jd_rq_encode_args, codebooks); FIELD(jd_rq_encode_args, codes); FIELD(jd_rq_encode_args, residual_norm);
  end_struct();
  begin_struct("jd_quantize_rows_args", sizeof(jd_quantize_rows_args), _Alignof(jd_quantize_rows_args));
  FIELD(jd_quantize_rows_args, struct_size); FIELD(jd_quantize_rows_args, format); FIELD(jd_quantize_rows_args, bounds);
  FIELD(jd_quantize_rows_args, reserved); FIELD(jd_quantize_rows_args, x); FIELD(jd_quantize_rows_args, rows);
  end_struct();
  begin_struct("jd_dequantize_rows_args", sizeof(jd_dequantize_rows_args), _Alignof(jd_dequantize_rows_args));
  FIELD(jd_dequantize_rows_args, struct_size); FIELD(jd_dequantize_rows_args, format); FIELD(jd_dequantize_rows_args, rows);
  FIELD(jd_dequantize_rows_args, out);
  end_struct();
  begin_struct("jd_rq_decode_args", sizeof(jd_rq_decode_args), _Alignof(jd_rq_decode_args));
  FIELD(jd_rq_decode_args, struct_size); FIELD(jd_rq_decode_args, bounds); FIELD(jd_rq_decode_args, codes);
  FIELD(jd_rq_decode_args, codebooks); FIELD(jd_rq_decode_args, out);
  end_struct();
  begin_struct("jd_top_k_inner_product_desc", sizeof(jd_top_k_inner_product_desc), _Alignof(jd_top_k_inner_product_desc));
  FIELD(jd_top_k_inner_product_desc, struct_size); FIELD(jd_top_k_inner_product_desc, dtype);
  FIELD(jd_top_k_inner_product_desc, dim); FIELD(jd_top_k_inner_product_desc, k);
  FIELD(jd_top_k_inner_product_desc, max_queries); FIELD(jd_top_k_inner_product_desc, row_format);
  FIELD(jd_top_k_inner_product_desc, reserved);
  end_struct();
  begin_struct("jd_top_k_inner_product_args", sizeof(jd_top_k_inner_product_args), _Alignof(jd_top_k_inner_product_args));
  FIELD(jd_top_k_inner_product_args, struct_size); FIELD(jd_top_k_inner_product_args, reserved);
  FIELD(jd_top_k_inner_product_args, queries); FIELD(jd_top_k_inner_product_args, items);
  FIELD(jd_top_k_inner_product_args, allowed); FIELD(jd_top_k_inner_product_args, indices);
  FIELD(jd_top_k_inner_product_args, scores);
  end_struct();
  begin_struct("jd_history_search_desc", sizeof(jd_history_search_desc), _Alignof(jd_history_search_desc));
  FIELD(jd_history_search_desc, struct_size);
  FIELD(jd_history_search_desc, method);
  FIELD(jd_history_search_desc, dtype);
  FIELD(jd_history_search_desc, offset_dtype);
  FIELD(jd_history_search_desc, dim);
  FIELD(jd_history_search_desc, k);
  FIELD(jd_history_search_desc, bounds);
  FIELD(jd_history_search_desc, reserved);
  FIELD(jd_history_search_desc, max_batch);
  FIELD(jd_history_search_desc, max_candidates);
  FIELD(jd_history_search_desc, max_history);
  end_struct();
  begin_struct("jd_history_search_args", sizeof(jd_history_search_args), _Alignof(jd_history_search_args));
  FIELD(jd_history_search_args, struct_size);
  FIELD(jd_history_search_args, reserved);
  FIELD(jd_history_search_args, queries);
  FIELD(jd_history_search_args, candidate_offsets);
  FIELD(jd_history_search_args, keys);
  FIELD(jd_history_search_args, history_offsets);
  FIELD(jd_history_search_args, bias);
  FIELD(jd_history_search_args, indices);
  FIELD(jd_history_search_args, scores);
  FIELD(jd_history_search_args, counts);
  end_struct();
  begin_struct("jd_lsh_signatures_args", sizeof(jd_lsh_signatures_args), _Alignof(jd_lsh_signatures_args));
  FIELD(jd_lsh_signatures_args, struct_size);
  FIELD(jd_lsh_signatures_args, reserved);
  FIELD(jd_lsh_signatures_args, x);
  FIELD(jd_lsh_signatures_args, projection);
  FIELD(jd_lsh_signatures_args, signatures);
  end_struct();
  begin_struct("jd_search_attention_desc", sizeof(jd_search_attention_desc), _Alignof(jd_search_attention_desc));
  FIELD(jd_search_attention_desc, struct_size);
  FIELD(jd_search_attention_desc, dtype);
  FIELD(jd_search_attention_desc, out_dtype);
  FIELD(jd_search_attention_desc, offset_dtype);
  FIELD(jd_search_attention_desc, num_heads);
  FIELD(jd_search_attention_desc, num_kv_heads);
  FIELD(jd_search_attention_desc, head_dim_qk);
  FIELD(jd_search_attention_desc, head_dim_v);
  FIELD(jd_search_attention_desc, scale);
  FIELD(jd_search_attention_desc, activation);
  FIELD(jd_search_attention_desc, scaling_seqlen);
  FIELD(jd_search_attention_desc, k);
  FIELD(jd_search_attention_desc, bounds);
  FIELD(jd_search_attention_desc, reserved);
  FIELD(jd_search_attention_desc, max_batch);
  FIELD(jd_search_attention_desc, max_candidates);
  FIELD(jd_search_attention_desc, max_history);
  end_struct();
  begin_struct("jd_search_attention_args", sizeof(jd_search_attention_args), _Alignof(jd_search_attention_args));
  FIELD(jd_search_attention_args, struct_size);
  FIELD(jd_search_attention_args, reserved);
  FIELD(jd_search_attention_args, candidates);
  FIELD(jd_search_attention_args, candidate_offsets);
  FIELD(jd_search_attention_args, keys);
  FIELD(jd_search_attention_args, values);
  FIELD(jd_search_attention_args, history_offsets);
  FIELD(jd_search_attention_args, indices);
  FIELD(jd_search_attention_args, out);
  FIELD(jd_search_attention_args, lse);
  end_struct();
  begin_struct("jd_linear_args", sizeof(jd_linear_args), _Alignof(jd_linear_args));
  FIELD(jd_linear_args, struct_size); FIELD(jd_linear_args, activation); FIELD(jd_linear_args, x);
  FIELD(jd_linear_args, weight); FIELD(jd_linear_args, bias); FIELD(jd_linear_args, residual);
  FIELD(jd_linear_args, out);
  end_struct();
  begin_struct("jd_layer_norm_args", sizeof(jd_layer_norm_args), _Alignof(jd_layer_norm_args));
  FIELD(jd_layer_norm_args, struct_size); FIELD(jd_layer_norm_args, eps); FIELD(jd_layer_norm_args, x);
  FIELD(jd_layer_norm_args, weight); FIELD(jd_layer_norm_args, bias); FIELD(jd_layer_norm_args, multiplier);
  FIELD(jd_layer_norm_args, out);
  end_struct();
  begin_struct("jd_l2_normalize_args", sizeof(jd_l2_normalize_args), _Alignof(jd_l2_normalize_args));
  FIELD(jd_l2_normalize_args, struct_size); FIELD(jd_l2_normalize_args, eps); FIELD(jd_l2_normalize_args, x);
  FIELD(jd_l2_normalize_args, out);
  end_struct();
}

static void constants(void) {
  CONSTANT(JD_VERSION_MAJOR); CONSTANT(JD_VERSION_MINOR); CONSTANT(JD_VERSION_PATCH); CONSTANT(JD_OK);
  CONSTANT(JD_INVALID_ARGUMENT); CONSTANT(JD_INVALID_HANDLE); CONSTANT(JD_CLOSED); CONSTANT(JD_UNSUPPORTED);
  CONSTANT(JD_NO_DEVICE); CONSTANT(JD_OUT_OF_MEMORY); CONSTANT(JD_OUT_OF_BOUNDS); CONSTANT(JD_BACKEND_ERROR);
  CONSTANT(JD_INTERNAL); CONSTANT(JD_F32); CONSTANT(JD_F16); CONSTANT(JD_BF16); CONSTANT(JD_F8_E4M3);
  CONSTANT(JD_I8); CONSTANT(JD_U8); CONSTANT(JD_I32); CONSTANT(JD_I64); CONSTANT(JD_BOOL); CONSTANT(JD_F64);
  CONSTANT(JD_BOUNDS_STRICT); CONSTANT(JD_BOUNDS_ZERO); CONSTANT(JD_BOUNDS_TRUST);
  CONSTANT(JD_MAX_RANK);
  CONSTANT(JD_POOL_SUM); CONSTANT(JD_POOL_MEAN); CONSTANT(JD_POOL_MAX); CONSTANT(JD_POOL_NONE);
  CONSTANT(JD_EVICT_NONE); CONSTANT(JD_EVICT_LRU); CONSTANT(JD_EVICT_LFU); CONSTANT(JD_EVICT_SCORE);
  CONSTANT(JD_MISSING_ZERO); CONSTANT(JD_MISSING_DEFAULT); CONSTANT(JD_MISSING_REPORT); CONSTANT(JD_MISSING_KEEP);
  CONSTANT(JD_HASH_ASSIGNED); CONSTANT(JD_HASH_INSERTED); CONSTANT(JD_HASH_REPLACED); CONSTANT(JD_HASH_NOT_ADMITTED);
  CONSTANT(JD_HASH_REFUSED); CONSTANT(JD_HASH_MISSING);
  CONSTANT(JD_SEQUENCE_CONCAT); CONSTANT(JD_SEQUENCE_SUM); CONSTANT(JD_POSITION_FROM_START); CONSTANT(JD_POSITION_FROM_END);
  CONSTANT(JD_TIME_SQRT); CONSTANT(JD_TIME_LOG);
  CONSTANT(JD_MEAN_VALID); CONSTANT(JD_MEAN_LENGTH);
  CONSTANT(JD_KEY_ROW); CONSTANT(JD_KEY_MODULO); CONSTANT(JD_KEY_QUOTIENT); CONSTANT(JD_KEY_HASH);
  CONSTANT(JD_KEYS_SUM); CONSTANT(JD_KEYS_CONCAT); CONSTANT(JD_MAX_KEY_FUNCTIONS);
  CONSTANT(JD_ROWS_PLAIN); CONSTANT(JD_ROWS_INT8); CONSTANT(JD_ROWS_INT4); CONSTANT(JD_ROWS_INT2);
  CONSTANT(JD_ROWS_INT8_FLOAT); CONSTANT(JD_ROWS_INT4_LAST); CONSTANT(JD_ROWS_INT2_LAST); CONSTANT(JD_ROWS_E4M3);
  CONSTANT(JD_ACTIVATION_SOFTMAX); CONSTANT(JD_ACTIVATION_SILU);
  CONSTANT(JD_MASK_NONE);
  CONSTANT(JD_MASK_CAUSAL);
  CONSTANT(JD_MASK_WINDOW);
  CONSTANT(JD_BIAS_NONE);
  CONSTANT(JD_BIAS_ALIBI);
  CONSTANT(JD_BIAS_T5);
  CONSTANT(JD_BIAS_DENSE);
  CONSTANT(JD_SEARCH_HARD); CONSTANT(JD_SEARCH_DOT); CONSTANT(JD_SEARCH_LSH);
  CONSTANT(JD_DIN_SIGMOID); CONSTANT(JD_DIN_PRELU); CONSTANT(JD_DIN_DICE);
  CONSTANT(JD_STCA_AUTO); CONSTANT(JD_STCA_MATERIALISED); CONSTANT(JD_STCA_REORDERED);
  CONSTANT(JD_LINEAR_IDENTITY); CONSTANT(JD_LINEAR_SILU);
}

static void functions(void) {
  FUNCTION_OF_NOTHING(const char *, jd_version);
  FUNCTION(const char *, jd_status_name, jd_status);
  FUNCTION(const char *, jd_dtype_name, int32_t);
  FUNCTION(int64_t, jd_dtype_size, int32_t);
  FUNCTION_OF_NOTHING(int64_t, jd_live_objects);
  FUNCTION(jd_status, jd_noop, jd_device, jd_error *);
  FUNCTION(jd_status, jd_device_count, const char *, int32_t *, jd_error *);
  FUNCTION(jd_status, jd_device_open, const char *, const jd_device_options *, jd_device *, jd_error *);
  FUNCTION(jd_status, jd_device_close, jd_device, jd_error *);
  FUNCTION(jd_status, jd_device_get_info, jd_device, jd_device_info *, jd_error *);
  FUNCTION(jd_status, jd_device_memory, jd_device, jd_memory_info *, jd_error *);
  FUNCTION(jd_status, jd_device_synchronize, jd_device, jd_error *);
  FUNCTION(jd_status, jd_tensor_create, jd_device, int32_t, int32_t, const int64_t *, jd_tensor *, jd_error *);
  FUNCTION(jd_status, jd_tensor_wrap, jd_device, void *, int32_t, int32_t, const int64_t *, const int64_t *,
           jd_tensor *, jd_error *);
  FUNCTION(jd_status, jd_tensor_view, jd_tensor, int64_t, int32_t, const int64_t *, const int64_t *,
           jd_tensor *, jd_error *);
  FUNCTION(jd_status, jd_tensor_destroy, jd_tensor, jd_error *);
  FUNCTION(jd_status, jd_tensor_get_info, jd_tensor, jd_tensor_info *, jd_error *);
  FUNCTION(jd_status, jd_tensor_write, jd_stream, jd_tensor, const void *, int64_t, jd_error *);
  FUNCTION(jd_status, jd_tensor_read, jd_stream, jd_tensor, void *, int64_t, jd_error *);
  FUNCTION(jd_status, jd_tensor_copy, jd_stream, jd_tensor, jd_tensor, jd_error *);
  FUNCTION(jd_status, jd_tensor_fill, jd_stream, jd_tensor, uint8_t, jd_error *);
  FUNCTION(jd_status, jd_host_memory_create, jd_device, int64_t, jd_host_memory *, void **, jd_error *);
  FUNCTION(jd_status, jd_host_memory_destroy, jd_host_memory, jd_error *);
  FUNCTION(jd_status, jd_tensor_write_from, jd_stream, jd_tensor, jd_host_memory, int64_t, int64_t, jd_error *);
  FUNCTION(jd_status, jd_tensor_read_into, jd_stream, jd_tensor, jd_host_memory, int64_t, int64_t, jd_error *);
  FUNCTION(jd_status, jd_stream_create, jd_device, jd_stream *, jd_error *);
  FUNCTION(jd_status, jd_stream_wrap, jd_device, void *, jd_stream *, jd_error *);
  FUNCTION(jd_status, jd_stream_destroy, jd_stream, jd_error *);
  FUNCTION(jd_status, jd_stream_synchronize, jd_stream, jd_error *);
  FUNCTION(jd_status, jd_stream_take_skipped, jd_stream, int64_t *, jd_error *);
  FUNCTION(jd_status, jd_stream_native, jd_stream, void **, jd_error *);
  FUNCTION(jd_status, jd_event_create, jd_device, jd_event *, jd_error *);
  FUNCTION(jd_status, jd_event_destroy, jd_event, jd_error *);
  FUNCTION(jd_status, jd_event_record, jd_event, jd_stream, jd_error *);
  FUNCTION(jd_status, jd_event_wait, jd_event, jd_stream, jd_error *);
  FUNCTION(jd_status, jd_event_synchronize, jd_event, jd_error *);
  FUNCTION(jd_status, jd_event_query, jd_event, int32_t *, jd_error *);
  FUNCTION(jd_status, jd_event_elapsed, jd_event, jd_event, double *, jd_error *);
  FUNCTION(jd_status, jd_stream_begin_capture, jd_stream, jd_error *);
  FUNCTION(jd_status, jd_stream_end_capture, jd_stream, jd_graph *, jd_error *);
  FUNCTION(jd_status, jd_graph_launch, jd_graph, jd_stream, jd_error *);
  FUNCTION(jd_status, jd_graph_destroy, jd_graph, jd_error *);
  FUNCTION(jd_status, jd_plan_destroy, jd_plan, jd_error *);
  FUNCTION(jd_status, jd_plan_memory, jd_plan, int64_t *, jd_error *);
  FUNCTION(jd_status, jd_plan_describe, jd_plan, char *, int64_t, jd_error *);
  FUNCTION(jd_status, jd_embedding_bag_plan, jd_device, const jd_embedding_bag_desc *, jd_plan *, jd_error *);
  FUNCTION(jd_status, jd_embedding_bag_run, jd_plan, jd_stream, const jd_embedding_bag_args *, jd_error *);
  FUNCTION(jd_status, jd_target_attention_plan, jd_device, const jd_target_attention_desc *, jd_plan *, jd_error *);
  FUNCTION(jd_status, jd_target_attention_run, jd_plan, jd_stream, const jd_target_attention_args *, jd_error *);
  FUNCTION(jd_status, jd_hstu_attention_plan, jd_device, const jd_hstu_attention_desc *, jd_plan *, jd_error *);
  FUNCTION(jd_status, jd_hstu_attention_run, jd_plan, jd_stream, const jd_hstu_attention_args *, jd_error *);
  FUNCTION(jd_status, jd_paged_append_plan, jd_device, const jd_paged_cache_desc *, jd_plan *, jd_error *);
  FUNCTION(jd_status, jd_paged_append_run, jd_plan, jd_stream, const jd_paged_cache_args *, jd_error *);
  FUNCTION(jd_status, jd_paged_gather_plan, jd_device, const jd_paged_cache_desc *, jd_plan *, jd_error *);
  FUNCTION(jd_status, jd_paged_gather_run, jd_plan, jd_stream, const jd_paged_cache_args *, jd_error *);
  FUNCTION(jd_status, jd_decode_attention_plan, jd_device, const jd_decode_attention_desc *, jd_plan *, jd_error *);
  FUNCTION(jd_status, jd_decode_attention_run, jd_plan, jd_stream, const jd_decode_attention_args *, jd_error *);
  FUNCTION(jd_status, jd_softmax_attention_plan, jd_device, const jd_softmax_attention_desc *, jd_plan *, jd_error *);
  FUNCTION(jd_status, jd_softmax_attention_run, jd_plan, jd_stream, const jd_softmax_attention_args *, jd_error *);
  FUNCTION(jd_status, jd_merge_attention_states, jd_stream, const jd_merge_attention_states_args *, jd_error *);
  FUNCTION(int64_t, jd_hash_table_slots, int64_t);
  FUNCTION(int64_t, jd_hash_table_buckets, int64_t, int64_t, const int64_t *, int64_t *);
  FUNCTION(jd_status, jd_hash_lookup_plan, jd_device, const jd_hash_table_desc *, jd_plan *, jd_error *);
  FUNCTION(jd_status, jd_hash_lookup_run, jd_plan, jd_stream, const jd_hash_table_args *, jd_error *);
  FUNCTION(jd_status, jd_hash_insert_plan, jd_device, const jd_hash_table_desc *, jd_plan *, jd_error *);
  FUNCTION(jd_status, jd_hash_insert_run, jd_plan, jd_stream, const jd_hash_table_args *, jd_error *);
  FUNCTION(jd_status, jd_hash_erase_plan, jd_device, const jd_hash_table_desc *, jd_plan *, jd_error *);
  FUNCTION(jd_status, jd_hash_erase_run, jd_plan, jd_stream, const jd_hash_table_args *, jd_error *);
  FUNCTION(jd_status, jd_sequence_embedding_plan, jd_device, const jd_sequence_embedding_desc *, jd_plan *, jd_error *);
  FUNCTION(jd_status, jd_sequence_embedding_run, jd_plan, jd_stream, const jd_sequence_embedding_args *, jd_error *);
  FUNCTION(jd_status, jd_rq_encode_plan, jd_device, const jd_rq_encode_desc *, jd_plan *, jd_error *);
  FUNCTION(jd_status, jd_rq_encode_run, jd_plan, jd_stream, const jd_rq_encode_args *, jd_error *);
  FUNCTION(jd_status, jd_quantize_rows, jd_stream, const jd_quantize_rows_args *, jd_error *);
  FUNCTION(jd_status, jd_dequantize_rows, jd_stream, const jd_dequantize_rows_args *, jd_error *);
  FUNCTION(jd_status, jd_rq_decode, jd_stream, const jd_rq_decode_args *, jd_error *);
  FUNCTION(jd_status, jd_top_k_inner_product_plan, jd_device, const jd_top_k_inner_product_desc *, jd_plan *, jd_error *);
  FUNCTION(jd_status, jd_top_k_inner_product_run, jd_plan, jd_stream, const jd_top_k_inner_product_args *, jd_error *);
  FUNCTION(jd_status, jd_history_search_plan, jd_device, const jd_history_search_desc *, jd_plan *, jd_error *);
  FUNCTION(jd_status, jd_history_search_run, jd_plan, jd_stream, const jd_history_search_args *, jd_error *);
  FUNCTION(jd_status, jd_lsh_signatures, jd_stream, const jd_lsh_signatures_args *, jd_error *);
  FUNCTION(jd_status, jd_search_attention_plan, jd_device, const jd_search_attention_desc *, jd_plan *, jd_error *);
  FUNCTION(jd_status, jd_search_attention_run, jd_plan, jd_stream, const jd_search_attention_args *, jd_error *);
  FUNCTION(jd_status, jd_longer_attention_plan, jd_device, const jd_longer_attention_desc *, jd_plan *, jd_error *);
  FUNCTION(jd_status, jd_longer_attention_run, jd_plan, jd_stream, const jd_longer_attention_args *, jd_error *);
  FUNCTION(jd_status, jd_merge_tokens, jd_stream, const jd_merge_tokens_args *, jd_error *);
  FUNCTION(jd_status, jd_beam_attention_plan, jd_device, const jd_beam_attention_desc *, jd_plan *, jd_error *);
  FUNCTION(jd_status, jd_beam_attention_run, jd_plan, jd_stream, const jd_beam_attention_args *, jd_error *);
  FUNCTION(jd_status, jd_din_attention_plan, jd_device, const jd_din_attention_desc *, jd_plan *, jd_error *);
  FUNCTION(jd_status, jd_din_attention_run, jd_plan, jd_stream, const jd_din_attention_args *, jd_error *);
  FUNCTION(jd_status, jd_stca_attention_plan, jd_device, const jd_stca_attention_desc *, jd_plan *, jd_error *);
  FUNCTION(jd_status, jd_stca_attention_run, jd_plan, jd_stream, const jd_stca_attention_args *, jd_error *);
  FUNCTION(jd_status, jd_linear, jd_stream, const jd_linear_args *, jd_error *);
  FUNCTION(jd_status, jd_layer_norm, jd_stream, const jd_layer_norm_args *, jd_error *);
  FUNCTION(jd_status, jd_l2_normalize, jd_stream, const jd_l2_normalize_args *, jd_error *);
}

int main(void) {
  printf("{\n  \"version\": \"%d.%d.%d\",\n  \"structs\": {", JD_VERSION_MAJOR, JD_VERSION_MINOR, JD_VERSION_PATCH);
  structs();
  printf("\n  },\n  \"constants\": {");
  constants();
  printf("\n  },\n  \"functions\": {");
  functions();
  printf("\n  }\n}\n");
  return ferror(stdout) ? 1 : 0;
}
