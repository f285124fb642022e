// The rules that arguments of operators follow, as a list of checks: the first one broken decides the message, the rest
// are skipped. Reads like the specification:
//
//   Rules rules(context);
//   rules.integer("num_heads", d.num_heads, 1, 256);
//   rules.tensor("keys", keys, dtype, {kAny, heads, dim});
//   return rules.status();
#ifndef JINDOU_CORE_RULES_H
#define JINDOU_CORE_RULES_H

#include <cstdint>
#include <initializer_list>

#include "core/backend.h"
#include "core/context.h"
#include "core/shape_text.h"

namespace jindou::core {

class Rules {
 public:
  struct Input {
    const char *name;
    const jdb_tensor &tensor;
  };

  explicit Rules(const Context &context) : context_(context) {}

  jd_status status() const { return status_; }
  bool broken() const { return status_ != JD_OK; }

  // Fields of a description.
  void integer(const char *name, int64_t value, int64_t least, int64_t most);
  void flag(const char *name, int32_t value) { integer(name, value, 0, 1); }
  void dtype(const char *name, int32_t value, std::initializer_list<int32_t> allowed);
  void head_dim(const char *name, int32_t value);
  void equal(const char *name, int64_t value, const char *other, int64_t expected);
  void finite(const char *name, float value);
  void finite_at_least(const char *name, float value, float least);  // least 0: >= 0
  void finite_above_zero(const char *name, float value);
  void zero(const char *name, int64_t value);  // reserved fields

  // Tensors. An absent one (dtype 0) passes all of these.
  void tensor(const char *name, const jdb_tensor &t, int32_t dtype, std::initializer_list<int64_t> shape);
  void column_multiple(const char *name, const jdb_tensor &t, int64_t multiple, int64_t least, int64_t most);
  void contiguous_last(const char *name, const jdb_tensor &t);  // last stride 1
  void aligned_data(const char *name, const jdb_tensor &t);     // address a multiple of 16 bytes
  // contiguous_last, aligned_data, and every other stride a multiple of 16 bytes
  void aligned_rows(const char *name, const jdb_tensor &t);
  // no two elements at one address
  void separate_elements(const char *name, const jdb_tensor &t);
  // optional arguments that a plan asks for (or not)
  void presence(const char *name, const jdb_tensor &t, bool wanted, const char *reason);
  // the output shares no element with any of the inputs
  void apart(const char *out_name, const jdb_tensor &out, std::initializer_list<Input> inputs);
  // ... or is the same tensor: same address, shape and strides
  void apart_or_same(const char *out_name, const jdb_tensor &out, const char *name, const jdb_tensor &in);

  // A message is in the error already.
  void refused(jd_status status) {
    if (!broken()) status_ = status;
  }
  __attribute__((format(printf, 4, 5), cold)) void fail(jd_status status, const char *name, const char *format, ...);

 private:
  const Context &context_;
  jd_status status_ = JD_OK;
};

// Bytes from the first element to the end of the last; 0 when there are none.
int64_t spanned_bytes(const jdb_tensor &t);
// Whether the two may share an element. Exact for tensors apart in memory and for column ranges of one wider tensor.
bool may_overlap(const jdb_tensor &a, const jdb_tensor &b);

}  // namespace jindou::core

#endif
