/* quantize_rows, dequantize_rows: numbers to rows of codes (jindou/embedding.h, JD_ROWS_*) and back, each row by itself. No plans.
 *
 * quantize_rows, all but E4M3: a row is stretched over its codes from its least to its largest element,
 *
 *   bias = min   scale = (max - bias) / (2^bits - 1)   code = (x - bias) / scale to nearest even, cut to 0..2^bits - 1
 *
 * with scale and bias rounded to the format (f16, or f32) before codes are computed, a scale of 0 replaced by 1, and -0 by 0. The
 * quotient is a float64. An element is then off by at most (max - min) / (2 * (2^bits - 1)), and where scale and bias are f16 by their
 * rounding more. E4M3: scale = max|x| / 448 (0: 1), code = x / scale to nearest even. A row depends on its own elements alone, and is the
 * same bytes on every device.
 *
 * A row that its format cannot hold (an element that is no finite number; a scale or bias past f16) follows `bounds`: STRICT
 * reports the first, ZERO counts it, TRUST does neither. Its bytes are then 0, a row of zeros.
 *
 * (FBGEMM's FloatToFused8BitRowwiseQuantized and FloatToFusedNBitRowwiseQuantizedSBHalf, but for its 1e-8 beside the range.) */
#ifndef JINDOU_QUANTIZE_H
#define JINDOU_QUANTIZE_H

#include <jindou/embedding.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct jd_quantize_rows_args {
  uint32_t struct_size;
  int32_t format;   /* JD_ROWS_*, not PLAIN */
  int32_t bounds;   /* JD_BOUNDS_* */
  int32_t reserved;
  jd_tensor x;      /* [n, D] f32, f16 or bf16, D a multiple of 4 in 4..2048; rows 16-byte aligned */
  jd_tensor rows;   /* [n, bytes] u8 written, at least as many as the format needs; those past them are 0. Rows begin anywhere */
} jd_quantize_rows_args;

typedef struct jd_dequantize_rows_args {
  uint32_t struct_size;
  int32_t format;   /* JD_ROWS_*, not PLAIN */
  jd_tensor rows;   /* [n, bytes] u8, at least as many as the format needs. Rows begin anywhere */
  jd_tensor out;    /* [n, D] f32, f16 or bf16 written, D a multiple of 4 in 4..2048; rows 16-byte aligned */
} jd_dequantize_rows_args;

JD_API jd_status jd_quantize_rows(jd_stream stream, const jd_quantize_rows_args *args, jd_error *error);
/* out = code * scale + bias in f32, rounded once to its dtype. */
JD_API jd_status jd_dequantize_rows(jd_stream stream, const jd_dequantize_rows_args *args, jd_error *error);

#ifdef __cplusplus
}
#endif
#endif
