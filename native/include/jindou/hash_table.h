/* A hash table from 64-bit keys to rows of an embedding table: hash_lookup, hash_insert, hash_erase.
 *
 * The table is tensors of the caller, so that it can be saved, restored and looked at:
 *   table_keys    [num_slots / 8, 8] i64   buckets of 8 keys, one cache line each; -1 marks an empty slot
 *   table_rows    [num_slots, dim]         row s belongs to the key in slot s: bucket s / 8, place s % 8
 *   table_scores  [num_slots] i64          what an eviction goes by; none under JD_EVICT_NONE
 *   table_sights  [num_slots] u8           how often keys that are not in the table were seen of late; only with admission > 1
 *   table_size    [1] i64                  keys in the table
 * num_slots is what jd_hash_table_slots gives for a capacity. An empty table has every byte of table_keys 0xff and zeros in
 * table_scores, table_sights and table_size. The key -1 is reserved: it is never found, and an insertion leaves it out.
 *
 * Every key has two buckets. It lies in the first unless that was full, so that a lookup reads little more than one cache line
 * before the row, at any load factor. Where both are full an insertion moves other keys to their other buckets (JD_EVICT_NONE),
 * or takes the place of the key with the least score among the sixteen (ties: the first bucket, there the lower slot); under JD_EVICT_LRU that of
 * the key with the least in the first bucket, unless the least in the second was not used for more than half as long again (2 age2 >
 * 3 age1; age = args.tick - score). Moving changes slots: those a lookup gave are good until the next insertion.
 *
 * JD_EVICT_LFU ages: a key that replaces another begins with a score one above that one's, and none of the sixteen stays more
 * than 16 above it. So every new key gets in, and what was popular once, however much, goes after some 256 replacements among them
 * if it is not used any more. (LFU with dynamic ageing: Arlitt et al. 2000, which has no limit.)
 *
 * Keys of one call are inserted in their order: of equal keys the last one's row stays. Where each key lies, and which are evicted,
 * depends on the calls made so far alone, and is the same on every device. Lookups may run beside other lookups (where two of them
 * touch a key, JD_EVICT_LRU remembers the tick of one); an insertion or erasure must not run beside any other call on the same table:
 * the caller orders them (io.jindou.HashTable does). Plans own no scratch memory: one serves any number of streams at once.
 *
 * (Bucketed cuckoo hashing: Erlingsson et al. 2006; tables for recommendation: HierarchicalKV, Monolith arXiv 2209.07663.) */
#ifndef JINDOU_HASH_TABLE_H
#define JINDOU_HASH_TABLE_H

#include <jindou/base.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Which key makes room for a new one. */
enum {
  JD_EVICT_NONE = 0,  /* none: an insertion into a full table is refused */
  JD_EVICT_LRU = 1,   /* score = args.tick of the last lookup or insertion of the key */
  JD_EVICT_LFU = 2,   /* score = lookups and insertions of the key, aged (above) */
  JD_EVICT_SCORE = 3  /* score = args.scores of the insertion; a key whose score is below all sixteen is refused */
};

/* What a lookup writes for a key that is not in the table. */
enum {
  JD_MISSING_ZERO = 0,    /* zeros */
  JD_MISSING_DEFAULT = 1, /* args.default_row */
  JD_MISSING_REPORT = 2,  /* zeros, and `bounds` decides whether it is reported or counted (the key -1: neither) */
  JD_MISSING_KEEP = 3     /* nothing: rows found elsewhere before stay */
};

/* What became of a key. */
enum {
  JD_HASH_ASSIGNED = 0,     /* insert: it was there; its row is the new one.  lookup, erase: it was there */
  JD_HASH_INSERTED = 1,     /* insert: into an empty slot */
  JD_HASH_REPLACED = 2,     /* insert: in the place of another key, which evicted_keys names */
  JD_HASH_NOT_ADMITTED = 3, /* insert: seen less often than desc.admission asks */
  JD_HASH_REFUSED = 4,      /* insert: the table is full, the score too low, or the key -1 */
  JD_HASH_MISSING = 5       /* lookup, erase: it is not in the table */
};

typedef struct jd_hash_table_desc {
  uint32_t struct_size;
  int32_t dtype;      /* of rows: JD_F32, JD_F16, JD_BF16, JD_F8_E4M3, JD_I8 or JD_U8 */
  int32_t dim;        /* elements of a row; its bytes are a multiple of 4, to 8192 */
  int32_t eviction;   /* JD_EVICT_* */
  int32_t admission;  /* a key is inserted when it is seen for the n-th time, 1..255; 1 = at once. A sight is an insertion of a
                         key that is not in the table. Keys share counters, so that one may be inserted early; and counters
                         are halved, each once in (3 n - 4) / 8 * num_slots sights, so that of keys never seen before hardly
                         more than one in twenty is inserted, however long the table lives */
  int32_t missing;    /* JD_MISSING_* */
  int32_t bounds;     /* JD_BOUNDS_STRICT: the first key that the table had no room for or that is missing (JD_MISSING_REPORT) is
                         reported at the next synchronisation; JD_BOUNDS_ZERO: they are counted */
  int32_t reserved;
} jd_hash_table_desc;

typedef struct jd_hash_table_args {
  uint32_t struct_size;
  uint32_t reserved;
  int64_t tick;            /* JD_EVICT_LRU: the time of this call, non-decreasing from call to call, >= 0; ignored else */
  jd_tensor table_keys;
  jd_tensor table_rows;
  jd_tensor table_scores;  /* or 0 under JD_EVICT_NONE */
  jd_tensor table_sights;  /* insert, admission > 1; else 0 */
  jd_tensor table_size;    /* insert, erase; lookup: 0 */
  jd_tensor keys;          /* [n] i64 */
  jd_tensor rows;          /* [n, dim]: read by insert, written by lookup (or 0 there); erase: 0 */
  jd_tensor scores;        /* insert under JD_EVICT_SCORE: [n] i64; else 0 */
  jd_tensor default_row;   /* lookup with rows under JD_MISSING_DEFAULT: [dim]; else 0 */
  jd_tensor slots;         /* [n] i64 written: where each key lies, -1 where it does not; or 0 */
  jd_tensor outcomes;      /* [n] i32 written: JD_HASH_*; or 0 */
  jd_tensor evicted_keys;  /* insert: [n] i64 written: the key that was replaced, or -1; or 0 */
} jd_hash_table_args;

/* Slots of a table for `capacity` keys (1..2^40); 0 for a capacity out of range. Under JD_EVICT_NONE that many keys find a place,
 * whichever they are but for one set in 10^9 (of keys not chosen against the hash); one more may be refused although there are
 * empty slots. It takes about capacity / 0.95 + 16 slots, from 31,000 keys on capacity / 0.925, and 16 for up to 15 keys. Two
 * threads may call it at once, as all functions without a handle. */
JD_API int64_t jd_hash_table_slots(int64_t capacity);

/* Where keys may lie, so that a table that comes from a file can be looked through before it is used: writes the two buckets of each key, the
 * first one first, in a table of num_slots slots, which is what jd_hash_table_slots gives or gave in an earlier version.
 *   keys     [n], any
 *   buckets  [n, 2], 0..num_slots / 8 - 1; both in host memory, and not read or written where n is 0
 * Returns the number of buckets, num_slots / 8; 0, with nothing written, where no table has so many slots, n is negative or keys or buckets
 * are missing. */
JD_API int64_t jd_hash_table_buckets(int64_t num_slots, int64_t n, const int64_t *keys, int64_t *buckets);

JD_API jd_status jd_hash_lookup_plan(jd_device device, const jd_hash_table_desc *desc, jd_plan *plan, jd_error *error);
JD_API jd_status jd_hash_lookup_run(jd_plan plan, jd_stream stream, const jd_hash_table_args *args, jd_error *error);
JD_API jd_status jd_hash_insert_plan(jd_device device, const jd_hash_table_desc *desc, jd_plan *plan, jd_error *error);
JD_API jd_status jd_hash_insert_run(jd_plan plan, jd_stream stream, const jd_hash_table_args *args, jd_error *error);
JD_API jd_status jd_hash_erase_plan(jd_device device, const jd_hash_table_desc *desc, jd_plan *plan, jd_error *error);
JD_API jd_status jd_hash_erase_run(jd_plan plan, jd_stream stream, const jd_hash_table_args *args, jd_error *error);

#ifdef __cplusplus
}
#endif
#endif
