#!/usr/bin/env python3
"""Writes the parity cases beside this file: small inputs and float64 results, computed from the formulas of the operator
reference with numpy alone. Run only to add or change a case; the folders it writes are checked in."""
import json
import pathlib
import struct

import numpy as np

HERE = pathlib.Path(__file__).parent
TYPES = {"float32": "F32", "float64": "F64", "int32": "I32", "int64": "I64", "uint16": "BF16", "float16": "F16",
         "uint8": "F8_E4M3", "int8": "I8", "bool": "BOOL"}


def save(path, tensors):
    header, data = {}, b""
    for name, value in tensors.items():
        value, kind = value if isinstance(value, tuple) else (value, TYPES[str(value.dtype)])
        raw = np.ascontiguousarray(value).tobytes()
        header[name] = {"dtype": kind, "shape": list(value.shape),
                        "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def bf16(x):
    """Rounds to bf16 (nearest even); returns (bits, value)."""
    u = np.asarray(x, np.float32).view(np.uint32).astype(np.uint64)
    bits = ((u + 0x7FFF + ((u >> 16) & 1)) >> 16).astype(np.uint16)
    return bits, (bits.astype(np.uint32) << 16).view(np.float32)


def case(name, op, params, inputs, outputs, atol, rtol=0.0):
    folder = HERE / name
    folder.mkdir(exist_ok=True)
    tolerance = {key: {"atol": atol, "rtol": rtol} for key in outputs}
    (folder / "case.json").write_text(json.dumps({"op": op, "params": params, "tolerance": tolerance}, indent=2) + "\n")
    save(folder / "inputs.safetensors", inputs)
    save(folder / "expected.safetensors", {key: value.astype(np.float32) for key, value in outputs.items()})


def offsets(lengths, dtype=np.int32):
    return np.concatenate([[0], np.cumsum(lengths)]).astype(dtype)


def embedding_bag(tables, ids, off, batch, pooling, weights=None, padding_id=None, denominator="valid"):
    blocks = []
    for t, table in enumerate(tables):
        kind = pooling if isinstance(pooling, str) else pooling[t]
        table = table.astype(np.float64)
        if kind == "none":
            rows = np.zeros((len(ids), table.shape[1]))
            for i in range(off[t * batch], off[(t + 1) * batch]):
                if ids[i] != padding_id and 0 <= ids[i] < len(table):
                    rows[i] = table[ids[i]] * (1 if weights is None else weights[i])
            blocks.append(rows)
            continue
        out = np.zeros((batch, table.shape[1]))
        for b in range(batch):
            span = range(off[t * batch + b], off[t * batch + b + 1])
            used = [i for i in span if ids[i] != padding_id and 0 <= ids[i] < len(table)]
            if not used:
                continue
            w = np.array([1.0 if weights is None else weights[i] for i in used])
            rows = table[[ids[i] for i in used]] * w[:, None]
            if kind == "max":
                out[b] = rows.max(0)
            else:
                out[b] = rows.sum(0)
                if kind == "mean":
                    out[b] /= len(span) if denominator == "length" else w.sum()
        blocks.append(out)
    return sum(blocks) if (pooling == "none") else np.concatenate(blocks, 1)


def target_attention(q, co, k, v, ho, scale, self_key=False, ck=None, cv=None, num_latest=None):
    heads, kv_heads = q.shape[1], k.shape[1]
    out = np.zeros((q.shape[0], heads, v.shape[2]))
    for b in range(len(co) - 1):
        end = ho[b + 1]
        begin = ho[b] if not num_latest else max(ho[b], end - num_latest)
        for i in range(co[b], co[b + 1]):
            for h in range(heads):
                g = h // (heads // kv_heads)
                keys, values = k[begin:end, g], v[begin:end, g]
                if self_key:
                    keys, values = np.vstack([keys, ck[i, g]]), np.vstack([values, cv[i, g]])
                if len(keys) == 0:
                    continue
                s = keys @ q[i, h] * scale
                p = np.exp(s - s.max())
                out[i, h] = p @ values / p.sum()
    return out


def hstu_attention(q, k, v, off, alpha, scaling_seqlen, num_targets=None, contextual=0, window=0, full=0, attn_scale=None,
                   rab=None, causal=True):
    out = np.zeros((q.shape[0], q.shape[1], v.shape[2]))
    for b in range(len(off) - 1):
        lo, hi = off[b], off[b + 1]
        n = hi - lo
        ids = np.arange(n)
        max_id = n
        if contextual > 0:
            ids = np.maximum(ids - contextual + 1, 0)
            max_id = n - contextual + 1
        if num_targets is not None:
            max_id -= num_targets[b]
            ids = np.minimum(ids, max_id)
        row, col = ids[:, None], ids[None, :]
        distance = row - col if causal else np.abs(row - col)
        mask = np.eye(n, dtype=bool) | (distance > 0)
        if window > 0:
            near = distance <= window
            if full > 0:
                near = near | (row >= max_id - full)
            mask &= near
        if contextual > 0:
            mask |= (row == 0) & (col < max_id)
        for h in range(q.shape[1]):
            s = q[lo:hi, h] @ k[lo:hi, h].T * alpha
            if rab is not None:
                s = s + rab(lo, hi, h)
            a = s / (1 + np.exp(-s)) * mask
            a = a / scaling_seqlen if attn_scale is None else a * attn_scale[lo:hi, None]
            out[lo:hi, h] = a @ v[lo:hi, h]
    return out


def main():
    rng = np.random.default_rng(20)
    f32 = lambda *shape: rng.standard_normal(shape).astype(np.float32)
    wide = lambda x: x.astype(np.float64)

    # embedding_bag
    tables = [f32(50, 16), f32(7, 8), f32(200, 64)]
    rows = [50, 7, 200]
    batch = 5
    lengths = rng.integers(0, 7, 3 * batch)
    lengths[2] = 0
    off = offsets(lengths)
    ids = np.concatenate([rng.integers(0, rows[i // batch], n) for i, n in enumerate(lengths)]).astype(np.int64)
    named = {f"table_{t}": table for t, table in enumerate(tables)}
    case("embedding_bag_sum", "embedding_bag", {"pooling": "sum", "batch": batch, "bounds": "strict"},
         {**named, "ids": ids, "offsets": off}, {"out": embedding_bag(tables, ids, off, batch, "sum")}, 1e-5, 1e-5)
    weights = rng.uniform(0.1, 2, len(ids)).astype(np.float32)
    pools = ["sum", "mean", "max"]
    case("embedding_bag_mixed_weighted", "embedding_bag", {"pooling": pools, "batch": batch, "bounds": "strict"},
         {**named, "ids": ids.astype(np.int32), "offsets": off.astype(np.int64), "weights": weights},
         {"out": embedding_bag(tables, ids, off, batch, pools, weights)}, 1e-5, 1e-5)
    bad = ids.copy()
    bad[::4] = -1
    bad[1] = 10_000_000
    case("embedding_bag_zero_bounds", "embedding_bag",
         {"pooling": "mean", "batch": batch, "bounds": "zero", "mean_denominator": "length"},
         {**named, "ids": bad, "offsets": off},
         {"out": embedding_bag(tables, bad, off, batch, "mean", denominator="length")}, 1e-5, 1e-5)
    half = [t.astype(np.float16) for t in tables]
    case("embedding_bag_f16_padding", "embedding_bag",
         {"pooling": "mean", "batch": batch, "bounds": "strict", "padding_id": int(ids[0])},
         {**{f"table_{t}": x for t, x in enumerate(half)}, "ids": ids, "offsets": off},
         {"out": embedding_bag(half, ids, off, batch, "mean", padding_id=int(ids[0]))}, 1e-5, 1e-5)
    bits, value = bf16(tables[2])
    ids2 = rng.integers(0, 200, 37)
    off2 = offsets([3, 0, 34])
    case("embedding_bag_none_bf16", "embedding_bag", {"pooling": "none", "batch": 3, "bounds": "strict"},
         {"table_0": bits, "ids": ids2, "offsets": off2},
         {"out": embedding_bag([value], ids2, off2, 3, "none")}, 1e-6, 1e-6)

    # target_attention
    nc, nk = [5, 0, 12], [67, 5, 30]
    co, ho = offsets(nc), offsets(nk)
    for dim, heads, kv_heads in ((32, 2, 2), (64, 4, 2)):
        q, k, v = f32(sum(nc), heads, dim), f32(sum(nk), kv_heads, dim), f32(sum(nk), kv_heads, dim)
        ck, cv = f32(sum(nc), kv_heads, dim), f32(sum(nc), kv_heads, dim)
        scale = dim ** -0.5
        base = {"candidates": q, "candidate_offsets": co, "keys": k, "values": v, "history_offsets": ho}
        case(f"target_attention_d{dim}", "target_attention", {"scale": scale, "activation": "softmax", "self_key": False},
             base, {"out": target_attention(wide(q), co, wide(k), wide(v), ho, scale)}, 2e-5)
        case(f"target_attention_d{dim}_self", "target_attention",
             {"scale": scale, "activation": "softmax", "self_key": True, "num_latest": 40},
             {**base, "candidate_keys": ck, "candidate_values": cv},
             {"out": target_attention(wide(q), co, wide(k), wide(v), ho, scale, True, wide(ck), wide(cv), 40)}, 2e-5)
        r = {n: bf16(x) for n, x in (("q", q), ("k", k), ("v", v))}
        case(f"target_attention_d{dim}_bf16", "target_attention",
             {"scale": scale, "activation": "softmax", "self_key": False, "dtype": "bf16"}, base,
             {"out": target_attention(wide(r["q"][1]), co, wide(r["k"][1]), wide(r["v"][1]), ho, scale)}, 2e-2, 1e-2)

    # hstu_attention
    lengths = [20, 0, 1, 37]
    off = offsets(lengths, np.int64)
    total = sum(lengths)
    targets = np.array([6, 0, 0, 15], np.int32)
    for dim, heads in ((32, 2), (128, 1)):
        q, k, v = f32(total, heads, dim), f32(total, heads, dim), f32(total, heads, dim)
        alpha = dim ** -0.5
        base = {"queries": q, "keys": k, "values": v, "offsets": off}
        common = {"alpha": alpha, "scaling_seqlen": 100, "causal": True}
        off_params = {"contextual_seq_len": 0, "max_attn_len": 0, "min_full_attn_seq_len": 0}
        args = (wide(q), wide(k), wide(v), off, alpha, 100)
        case(f"hstu_attention_d{dim}", "hstu_attention", {**common, **off_params}, base,
             {"out": hstu_attention(*args)}, 1e-5)
        case(f"hstu_attention_d{dim}_targets_contexts", "hstu_attention", {**common, **off_params, "contextual_seq_len": 3},
             {**base, "num_targets": targets}, {"out": hstu_attention(*args, targets, 3)}, 1e-5)
        case(f"hstu_attention_d{dim}_window", "hstu_attention",
             {**common, "contextual_seq_len": 2, "max_attn_len": 9, "min_full_attn_seq_len": 5},
             {**base, "num_targets": targets}, {"out": hstu_attention(*args, targets, 2, 9, 5)}, 1e-5)
        scale = rng.uniform(0.001, 0.1, total).astype(np.float32)
        r = [bf16(x)[1] for x in (q, k, v)]
        case(f"hstu_attention_d{dim}_bf16_attn_scale", "hstu_attention", {**common, **off_params, "dtype": "bf16"},
             {**base, "num_targets": targets, "attn_scale": scale},
             {"out": hstu_attention(*[wide(x) for x in r], off, alpha, 100, targets, attn_scale=wide(scale))}, 2e-2, 1e-2)

    # Position and time bias, computed here by laying out the matrix; the last rows of each sequence with keys of all.
    dim, heads, reach = 64, 2, 40
    q, k, v = f32(total, heads, dim), f32(total, heads, dim), f32(total, heads, dim)
    position, time = f32(2 * reach - 1), f32(heads, 31)
    stamps = np.cumsum(np.exp(rng.uniform(0, 12, total)).astype(np.int64))

    def rab(lo, hi, h):
        at = np.arange(hi - lo)
        gap = np.abs(stamps[lo:hi, None] - stamps[None, lo:hi])
        bucket = np.clip(np.floor(np.log(np.maximum(1, gap)) / 0.301), 0, 30).astype(int)
        return wide(position)[reach - 1 + at[None, :] - at[:, None]] + wide(time)[h][bucket]

    biased = hstu_attention(wide(q), wide(k), wide(v), off, dim ** -0.5, 100, targets, rab=rab)
    base = {"keys": k, "values": v, "offsets": off, "num_targets": targets, "timestamps": stamps,
            "position_bias": position, "time_bias": time}
    common = {"alpha": dim ** -0.5, "scaling_seqlen": 100, "causal": True, **off_params}
    case("hstu_attention_d64_bias", "hstu_attention", common, {**base, "queries": q}, {"out": biased}, 1e-5)
    last = [7, 0, 1, 20]
    rows = np.concatenate([np.arange(off[b + 1] - last[b], off[b + 1]) for b in range(len(last))])
    case("cached_hstu_attention_d64", "cached_hstu_attention", common,
         {**base, "queries": q[rows], "q_offsets": offsets(last, np.int64)}, {"out": biased[rows]}, 1e-5)

    # target_attention with SiLU: as HSTU's targets, each candidate over the history and its own key.
    nc, nk = [3, 0, 5], [9, 4, 70]
    co, ho = offsets(nc), offsets(nk)
    q, k, v = f32(sum(nc), 2, dim), f32(sum(nk), 2, dim), f32(sum(nk), 2, dim)
    ck, cv = f32(sum(nc), 2, dim), f32(sum(nc), 2, dim)
    out = np.zeros(q.shape)
    for b in range(len(nc)):
        for i in range(co[b], co[b + 1]):
            for h in range(2):
                keys = np.concatenate([wide(k)[ho[b]:ho[b + 1], h], wide(ck)[i:i + 1, h]])
                vals = np.concatenate([wide(v)[ho[b]:ho[b + 1], h], wide(cv)[i:i + 1, h]])
                s = keys @ wide(q)[i, h] * dim ** -0.5
                out[i, h] = (s / (1 + np.exp(-s)) / 70) @ vals
    case("target_attention_d64_silu", "target_attention",
         {"scale": dim ** -0.5, "activation": "silu", "scaling_seqlen": 70, "self_key": True},
         {"candidates": q, "candidate_offsets": co, "keys": k, "values": v, "history_offsets": ho,
          "candidate_keys": ck, "candidate_values": cv}, {"out": out}, 1e-5)

    paged_cases(rng)
    head_dim_cases(np.random.default_rng(22))
    embedding_row_cases(np.random.default_rng(21))
    rq_cases(np.random.default_rng(42))
    softmax_cases(np.random.default_rng(23))
    din_cases(np.random.default_rng(24))
    sequence_cases(np.random.default_rng(40))
    search_cases(np.random.default_rng(23))
    key_cases(np.random.default_rng(50))


def e4m3(x):
    """Rounds to fp8 e4m3 (nearest even, cut at 448); returns (codes, values)."""
    codes = np.arange(127)
    table = np.where(codes < 8, codes * 2.0 ** -9, (8 + codes % 8) * 2.0 ** (codes // 8 - 10))
    distance = np.abs(np.abs(x)[..., None] - table)
    nearest = distance.argmin(-1)
    following = np.minimum(nearest + 1, 126)
    tie = np.take_along_axis(distance, following[..., None], -1)[..., 0] == distance.min(-1)
    nearest = np.where(tie & (nearest % 2 == 1), following, nearest)
    return (nearest + 128 * (x < 0)).astype(np.uint8), table[nearest] * np.sign(x)


def rows_of_codes(rng, kind, rows, dim, alignment):
    """Random rows of FBGEMM's formats, packed here byte by byte; returns (bytes, what they stand for)."""
    bits = {"int8": 8, "int4": 4, "int2": 2, "e4m3": 8}[kind.removeprefix("fbgemm_").split("_")[0]]
    out, values = [], np.zeros((rows, dim))
    for r in range(rows):
        number = np.float32 if kind.endswith("float") or kind == "e4m3" else np.float16
        scale, bias = number(rng.uniform(0.001, 0.1)), number(rng.uniform(-2, 2))
        if kind == "e4m3":
            codes, stands = e4m3(rng.standard_normal(dim) * 20)
            values[r], head = stands * np.float64(scale), scale.tobytes()
        else:
            codes = rng.integers(0, 2 ** bits, dim)
            values[r], head = codes * np.float64(scale) + np.float64(bias), scale.tobytes() + bias.tobytes()
        per_byte = 8 // bits
        body = bytes(sum(int(codes[i + e]) << (bits * e) for e in range(per_byte)) for i in range(0, dim, per_byte))
        row = body + head if kind.endswith(("last", "float")) else head + body
        out.append(row + bytes(-len(row) % alignment))
    return np.frombuffer(b"".join(out), np.uint8).reshape(rows, -1), values


def embedding_row_cases(rng):
    def problem(rows, batch):
        lengths = rng.integers(0, 7, len(rows) * batch)
        off = offsets(lengths, np.int64)
        ids = np.concatenate([rng.integers(0, rows[i // batch], n) for i, n in enumerate(lengths)]).astype(np.int64)
        return ids, off

    # The formats as FBGEMM's table-batched embeddings hold them: rows aligned to 16 bytes on a GPU.
    for kind in ("fbgemm_int8", "fbgemm_int4", "fbgemm_int2"):
        tables = [rows_of_codes(rng, kind, rows, dim, 16) for rows, dim in ((40, 64), (9, 24))]
        ids, off = problem([40, 9], 4)
        ids[::5] = -1  # pruned rows: skipped, but counted in the length
        case(f"embedding_bag_{kind}", "embedding_bag",
             {"pooling": "mean", "batch": 4, "bounds": "strict", "padding_id": -1, "mean_denominator": "length",
              "row_format": kind, "dims": [64, 24]},
             {**{f"table_{t}": (x[0], "U8") for t, x in enumerate(tables)}, "ids": ids, "offsets": off},
             {"out": embedding_bag([x[1] for x in tables], ids, off, 4, "mean", padding_id=-1, denominator="length")}, 1e-5, 1e-5)

    # All formats beside each other, packed as on a CPU, with numbers between them.
    kinds = ["fbgemm_int8", "fbgemm_int4", "fbgemm_int2", "fbgemm_int8_float", "fbgemm_int4_last", "fbgemm_int2_last", "e4m3"]
    dims = [32, 8, 64, 12, 20, 16, 28]
    tables = [rows_of_codes(rng, kind, 15, dim, 1) for kind, dim in zip(kinds, dims)]
    named = {f"table_{t}": (x[0], "U8") for t, x in enumerate(tables)}
    values = [x[1] for x in tables]
    plain, stands = e4m3(rng.standard_normal((15, 36)))
    single = rng.standard_normal((15, 4)).astype(np.float32)
    named.update({"table_7": plain, "table_8": single})
    values += [stands, single]
    ids, off = problem([15] * 9, 3)
    weights = rng.uniform(0.1, 2, len(ids)).astype(np.float32)
    pools = ["sum", "max", "mean"] * 3
    case("embedding_bag_all_formats", "embedding_bag",
         {"pooling": pools, "batch": 3, "bounds": "strict", "row_format": kinds + ["plain", "plain"], "dims": dims + [36, 4]},
         {**named, "ids": ids, "offsets": off, "weights": weights},
         {"out": embedding_bag(values, ids, off, 3, pools, weights)}, 1e-5, 1e-5)


class Pages:
    """Rows [total, heads, d] of sequences, spread over pages in an arbitrary order; `exact` is what they stand for."""

    def __init__(self, rng, lengths, page_size):
        width = max(1, max((n + page_size - 1) // page_size for n in lengths))
        self.count = len(lengths) * width + 2
        self.table = rng.permutation(self.count)[:len(lengths) * width].reshape(len(lengths), width).astype(np.int32)
        self.lengths, self.size = lengths, page_size
        self.places = [(self.table[b, r // page_size], r % page_size) for b, n in enumerate(lengths) for r in range(n)]

    def spread(self, rows, fill):
        pages = np.full((self.count, self.size) + rows.shape[1:], fill, rows.dtype)
        for row, (page, at) in zip(rows, self.places):
            pages[page, at] = row
        return pages


def paged_cases(rng):
    def f32(*shape):
        return rng.uniform(-1, 1, shape).astype(np.float32)

    lengths, last, heads, dim = [41, 1, 0, 70], [7, 1, 0, 20], 2, 64
    off, total = offsets(lengths), sum(lengths)
    targets = np.array([3, 0, 0, 11], np.int32)
    rows = np.concatenate([np.arange(off[b + 1] - last[b], off[b + 1]) for b in range(len(last))])
    q, k, v = f32(total, heads, dim), f32(total, heads, dim), f32(total, heads, dim)
    params = {"alpha": dim ** -0.5, "scaling_seqlen": 100, "causal": True}

    def spread(inputs, k, v, kind, size):
        """Adds the paged cache to the inputs; returns what keys and values it stands for."""
        pages = Pages(rng, lengths, size)
        inputs.update({"page_table": pages.table, "seq_lens": np.array(lengths, np.int32)})
        exact = {}
        for name, x in (("key", k), ("value", v)):
            if kind == "f32":
                exact[name], stored, fill = x.astype(np.float64), x, np.nan
            elif kind == "fp8":
                scale = np.array([0.0023], np.float32)
                stored, values = e4m3(x / scale)
                exact[name], fill = values * np.float64(scale[0]), 0x7F
                inputs[f"{name}_scales"] = scale
            else:
                scale = (np.abs(x).max(-1) / np.float32(127)).astype(np.float32)
                stored, fill = np.rint(x / scale[..., None]).astype(np.int8), 127
                exact[name] = stored * scale[..., None].astype(np.float64)
                inputs[f"{name}_scales"] = pages.spread(scale, np.nan)
            inputs[f"{name}_pages"] = pages.spread(stored, fill)
        return exact["key"], exact["value"]

    for kind, size in (("f32", 16), ("fp8", 32), ("int8", 16)):
        inputs = {"queries": q[rows], "q_offsets": offsets(last), "num_targets": targets}
        keys, values = spread(inputs, k, v, kind, size)
        out = hstu_attention(q.astype(np.float64), keys, values, off, dim ** -0.5, 100, targets)
        case(f"cached_hstu_attention_paged_{kind}", "cached_hstu_attention", params, inputs, {"out": out[rows]}, 1e-5)

    # decode_attention: the last rows of each sequence, four query heads over two of keys and values, 64 and 96 wide.
    last, group = [3, 1, 0, 16], 2
    q = f32(sum(last), heads * group, dim)
    v = f32(total, heads, 96)
    for kind, size in (("f32", 16), ("fp8", 64), ("int8", 32)):
        q_off = offsets(last)
        inputs = {"queries": q, "q_offsets": q_off}
        keys, values = spread(inputs, k, v, kind, size)
        out, lse = np.zeros((sum(last), heads * group, 96)), np.zeros((sum(last), heads * group))
        for b, n in enumerate(lengths):
            for i in range(last[b]):
                seen = slice(off[b], off[b] + n - last[b] + i + 1)
                for h in range(heads * group):
                    s = keys[seen, h // group] @ q[q_off[b] + i, h].astype(np.float64) * 0.2
                    weights = np.exp(s - s.max())
                    out[q_off[b] + i, h] = weights @ values[seen, h // group] / weights.sum()
                    lse[q_off[b] + i, h] = s.max() + np.log(weights.sum())
        case(f"decode_attention_{kind}", "decode_attention", {"scale": 0.2}, inputs, {"out": out, "lse": lse}, 1e-5)


def head_dim_cases(rng):
    """Wide heads, values of another width than keys, and f16 (its weights may be rounded to f16 on tensor cores)."""
    def random(kind, *shape):
        x = rng.uniform(-1, 1, shape).astype(np.float32)
        return x if kind != "f16" else x.astype(np.float16)

    def exact(kind, x):
        return (bf16(x)[1] if kind == "bf16" else x).astype(np.float64)

    heads = 2
    tolerance = {"f32": 1e-5, "f16": 2e-3, "bf16": 1e-2}
    nc, nk = [3, 0, 5], [9, 4, 33]
    co, ho = offsets(nc), offsets(nk)
    for kind, dim, dim_v in (("f32", 256, 32), ("f16", 192, 192), ("bf16", 64, 192)):
        q, k, v = random(kind, sum(nc), heads, dim), random(kind, sum(nk), 1, dim), random(kind, sum(nk), 1, dim_v)
        ck, cv = random(kind, sum(nc), 1, dim), random(kind, sum(nc), 1, dim_v)
        e = [exact(kind, x) for x in (q, k, v, ck, cv)]
        case(f"target_attention_d{dim}_v{dim_v}_{kind}", "target_attention",
             {"scale": dim ** -0.5, "activation": "softmax", "self_key": True, "dtype": kind},
             {"candidates": q, "candidate_offsets": co, "keys": k, "values": v, "history_offsets": ho, "candidate_keys": ck,
              "candidate_values": cv},
             {"out": target_attention(e[0], co, e[1], e[2], ho, dim ** -0.5, True, e[3], e[4])}, tolerance[kind])

    lengths, last = [7, 0, 30], [2, 0, 9]
    off, total = offsets(lengths), sum(lengths)
    targets = np.array([1, 0, 4], np.int32)
    for kind, dim, dim_v in (("f16", 32, 256), ("bf16", 256, 256)):
        q, k, v = random(kind, total, heads, dim), random(kind, total, heads, dim), random(kind, total, heads, dim_v)
        out = hstu_attention(exact(kind, q), exact(kind, k), exact(kind, v), off, dim ** -0.5, 20, targets, 3, 9, 5)
        case(f"hstu_attention_d{dim}_v{dim_v}_{kind}", "hstu_attention",
             {"alpha": dim ** -0.5, "scaling_seqlen": 20, "contextual_seq_len": 3, "max_attn_len": 9, "min_full_attn_seq_len": 5,
              "dtype": kind},
             {"queries": q, "keys": k, "values": v, "offsets": off, "num_targets": targets}, {"out": out}, tolerance[kind])

    # f16 queries over a paged cache: of f16, and of int8 codes.
    rows = np.concatenate([np.arange(off[b + 1] - last[b], off[b + 1]) for b in range(len(last))])
    for kind, dim, dim_v in (("f16", 192, 96), ("int8", 96, 128)):
        q, k, v = random("f16", total, heads, dim), random("f16", total, heads, dim), random("f16", total, heads, dim_v)
        pages = Pages(rng, lengths, 16)
        inputs = {"queries": q[rows], "q_offsets": offsets(last), "num_targets": targets, "page_table": pages.table,
                  "seq_lens": np.array(lengths, np.int32)}
        e = {"key": k.astype(np.float64), "value": v.astype(np.float64)}
        for name, x in (("key", k), ("value", v)):
            if kind == "int8":
                scale = (np.abs(x.astype(np.float32)).max(-1) / np.float32(127)).astype(np.float32)
                x = np.rint(x.astype(np.float32) / scale[..., None]).astype(np.int8)
                e[name] = x * scale[..., None].astype(np.float64)
                inputs[f"{name}_scales"] = pages.spread(scale, np.nan)
            inputs[f"{name}_pages"] = pages.spread(x, 127 if kind == "int8" else np.nan)
        out = hstu_attention(q.astype(np.float64), e["key"], e["value"], off, dim ** -0.5, 20, targets)
        case(f"cached_hstu_attention_paged_{kind}_d{dim}_v{dim_v}", "cached_hstu_attention",
             {"alpha": dim ** -0.5, "scaling_seqlen": 20}, inputs, {"out": out[rows]}, tolerance["f16"])


def rq_cases(rng):
    """Semantic ids. Vectors whose nearest code is nearest by little are left out: rounding may choose another there."""
    def encode(x, codebooks):
        codes, margin = np.zeros((len(x), len(codebooks))), np.full(len(x), np.inf)
        for level, book in enumerate(codebooks.astype(np.float64)):
            distances = ((x[:, None] - book) ** 2).sum(-1)
            codes[:, level] = distances.argmin(1)
            margin = np.minimum(margin, np.diff(np.sort(distances, 1)[:, :2], axis=1)[:, 0])
            x = x - book[distances.argmin(1)]
        return codes, np.linalg.norm(x, axis=1), margin

    for kind, levels, codes, dim in (("f32", 3, 64, 32), ("bf16", 2, 50, 16)):
        codebooks = (rng.uniform(-1, 1, (levels, codes, dim)) / 2.0 ** np.arange(levels)[:, None, None]).astype(np.float32)
        x = rng.uniform(-1, 1, (40, dim)).astype(np.float32)
        exact = (bf16(x)[1] if kind == "bf16" else x).astype(np.float64)
        ids, norm, margin = encode(exact, codebooks)
        keep = margin > 1e-3
        case(f"rq_encode_{kind}", "rq_encode", {"dtype": kind}, {"x": x[keep], "codebooks": codebooks},
             {"codes": ids[keep], "residual_norm": norm[keep]}, 1e-5)

    ids = rng.integers(0, codes, (9, levels)).astype(np.int32)
    out = sum(codebooks[level, ids[:, level]].astype(np.float64) for level in range(levels))
    case("rq_decode", "rq_decode", {}, {"codes": ids, "codebooks": codebooks}, {"out": out}, 1e-6)
    ids[3] = -1, codes
    out[3] = 0
    case("rq_decode_zero_bounds", "rq_decode", {"bounds": "zero"}, {"codes": ids, "codebooks": codebooks}, {"out": out}, 1e-6)


def softmax_attention(q, k, v, q_off, k_off, scale, allowed, bias, softcap=0.0):
    """allowed(i, j, p) and bias(b, h, i, j, p), p the position of row i."""
    heads, group = q.shape[1], q.shape[1] // k.shape[1]
    out, lse = np.zeros((len(q), heads, v.shape[2])), np.full((len(q), heads), -np.inf)
    for b in range(len(q_off) - 1):
        nq, nk = q_off[b + 1] - q_off[b], k_off[b + 1] - k_off[b]
        for i in range(nq):
            seen = [j for j in range(nk) if allowed(i, j, nk - nq + i)]
            for h in range(heads if seen else 0):
                s = k[k_off[b] + np.array(seen), h // group] @ q[q_off[b] + i, h] * scale
                s = s + np.array([bias(b, h, i, j, nk - nq + i) for j in seen])
                if softcap:  # none of its cases has a bias, see softcap_bias_cases
                    s = softcap * np.tanh(s / softcap)
                weights = np.exp(s - s.max())
                out[q_off[b] + i, h] = weights @ v[k_off[b] + np.array(seen), h // group] / weights.sum()
                lse[q_off[b] + i, h] = s.max() + np.log(weights.sum())
    return out, lse


def t5_bucket(relative, num_buckets, max_distance, bidirectional):
    """T5's function, with float64 logarithms."""
    base = 0
    if bidirectional:
        num_buckets //= 2
        base = num_buckets if relative > 0 else 0
        relative = abs(relative)
    else:
        relative = max(-relative, 0)
    exact = num_buckets // 2
    if relative < exact:
        return base + relative
    large = np.log(relative / exact) / np.log(max_distance / exact) * (num_buckets - exact)
    return base + min(exact + int(large + 1e-12), num_buckets - 1)


def softmax_cases(rng):
    """Masks, biases and the soft-cap of softmax_attention, each with some sequences that have more queries than keys; a merge."""
    heads, kv_heads, dim, dim_v = 2, 1, 32, 64
    nq, nk = [17, 1, 0, 9], [17, 50, 3, 5]
    q_off, k_off = offsets(nq), offsets(nk)
    none = lambda b, h, i, j, p: 0.0
    slopes = np.array([0.5, 0.0625], np.float32)
    table = rng.standard_normal((32, heads)).astype(np.float32)
    matrix = rng.standard_normal((heads, 17, 50)).astype(np.float32)
    of_sequence = rng.standard_normal((len(nq), heads, 17, 50)).astype(np.float32)
    matrix[:, 3, 5] = -np.inf
    causal = lambda i, j, p: j <= p
    window = lambda left, right: lambda i, j, p: p - left <= j <= p + right
    cases = [
        ("none", "f32", {"mask": "none"}, {}, lambda i, j, p: True, none),
        ("causal_bf16", "bf16", {"mask": "causal"}, {}, causal, none),
        ("causal_f16", "f16", {"mask": "causal", "softcap": 3.0}, {}, causal, none),
        ("window_sink", "f32", {"mask": "window", "left": 6, "right": 0, "sink": 3}, {},
         lambda i, j, p: j < 3 or window(6, 0)(i, j, p), none),
        ("prefix_softcap", "f32", {"mask": "causal", "prefix": 12, "softcap": 1.5}, {},
         lambda i, j, p: causal(i, j, p) or (p < 12 and j < 12), none),
        ("global", "f32", {"mask": "causal", "num_global": 4}, {},
         lambda i, j, p: causal(i, j, p) or i < 4 or j < 4, none),
        ("alibi", "f32", {"mask": "causal"}, {"alibi_slopes": slopes}, causal,
         lambda b, h, i, j, p: -slopes[h] * abs(p - j)),
        ("t5_encoder", "f32", {"mask": "none", "t5_max_distance": 128, "t5_bidirectional": True}, {"t5_bias": table},
         lambda i, j, p: True, lambda b, h, i, j, p: table[t5_bucket(j - p, 32, 128, True), h]),
        ("t5_decoder", "f32", {"mask": "causal", "t5_max_distance": 40, "t5_bidirectional": False}, {"t5_bias": table},
         causal, lambda b, h, i, j, p: table[t5_bucket(j - p, 32, 40, False), h]),
        ("bias", "f32", {"mask": "window", "left": -1, "right": 2}, {"bias": matrix}, window(10**9, 2),
         lambda b, h, i, j, p: np.float64(matrix[h, i, j])),
        ("bias_of_sequences_bf16", "bf16", {"mask": "none"}, {"bias": of_sequence}, lambda i, j, p: True,
         lambda b, h, i, j, p: np.float64(of_sequence[b, h, i, j])),
    ]
    tolerance = {"f32": 1e-5, "f16": 2e-3, "bf16": 1e-2}
    for name, kind, params, more, allowed, bias in cases:
        q, k, v = (rng.standard_normal(shape).astype(np.float32)
                   for shape in ((sum(nq), heads, dim), (sum(nk), kv_heads, dim), (sum(nk), kv_heads, dim_v)))
        if kind == "f16":
            q, k, v = (x.astype(np.float16) for x in (q, k, v))
        exact = [(bf16(x)[1] if kind == "bf16" else x).astype(np.float64) for x in (q, k, v)]
        out, lse = softmax_attention(*exact, q_off, k_off, 0.2, allowed, bias, params.get("softcap", 0.0))
        case(f"softmax_attention_{name}", "softmax_attention", {"scale": 0.2, "dtype": kind, **params},
             {"queries": q, "keys": k, "values": v, "q_offsets": q_off, "k_offsets": k_off, **more}, {"out": out, "lse": lse},
             tolerance[kind])

    out = rng.standard_normal((2, 9, heads, dim_v)).astype(np.float32)
    lse = (3 * rng.standard_normal((2, 9, heads))).astype(np.float32)
    lse[0, 2], lse[1, 4], lse[:, 6], lse[0, 7] = -np.inf, -np.inf, -np.inf, 300
    top = np.maximum(lse[0], lse[1]).astype(np.float64)
    weights = np.exp(lse - np.where(np.isinf(top), 0, top))
    total = weights.sum(0)
    merged = (weights[..., None] * out).sum(0) / np.where(total == 0, 1, total)[..., None]
    with np.errstate(divide="ignore"):
        case("merge_attention_states", "merge_attention_states", {},
             {"out_a": out[0], "lse_a": lse[0], "out_b": out[1], "lse_b": lse[1]},
             {"out": merged, "lse": np.where(total == 0, -np.inf, top + np.log(total))}, 1e-5)


def din_attention(q, co, k, v, ho, layers, weight_3, bias_3, activation, scale, softmax, eps):
    def f(x, layer):
        if activation == "sigmoid":
            return 1 / (1 + np.exp(-x))
        if activation == "prelu":
            return np.where(x > 0, x, layer["slope"] * x)
        p = 1 / (1 + np.exp(-(x - layer["mean"]) / np.sqrt(layer["variance"] + eps)))
        return p * x + (1 - p) * layer["slope"] * x

    out = np.zeros((len(q), v.shape[1]))
    for b in range(len(co) - 1):
        keys, values = k[ho[b]:ho[b + 1]], v[ho[b]:ho[b + 1]]
        for i in range(co[b], co[b + 1]):
            x = np.concatenate([np.broadcast_to(q[i], keys.shape), keys, q[i] - keys, q[i] * keys], 1)
            for layer in layers:
                x = f(x @ layer["weight"].T + layer["bias"], layer)
            weights = scale * (x @ weight_3[0] + bias_3[0])
            if softmax and len(weights) > 0:
                weights = np.exp(weights - weights.max())
                weights /= weights.sum()
            out[i] = weights @ values
    return out


def din_cases(rng):
    nc, nk = [3, 0, 5, 1], [61, 4, 150, 0]
    co, ho = offsets(nc), offsets(nk)
    for kind, activation, dim, dim_v, hidden, softmax in (("f32", "sigmoid", 64, 64, (80, 40), False),
                                                          ("f32", "dice", 24, 40, (36, 12), True),
                                                          ("bf16", "prelu", 64, 32, (80, 40), False),
                                                          ("f16", "dice", 128, 64, (80, 40), True)):
        scale = dim ** -0.5
        q, k, v = (rng.uniform(-1, 1, shape).astype(np.float32) for shape in ((sum(nc), dim), (sum(nk), dim), (sum(nk), dim_v)))
        if kind == "f16":
            q, k, v = (x.astype(np.float16) for x in (q, k, v))
        exact = [(bf16(x)[1] if kind == "bf16" else x).astype(np.float64) for x in (q, k, v)]
        inputs = {"candidates": q, "candidate_offsets": co, "keys": k, "values": v, "history_offsets": ho}
        layers, before = [], 4 * dim
        for number, units in enumerate(hidden, 1):
            layer = {"weight": rng.standard_normal((units, before)) * before ** -0.5, "bias": rng.uniform(-0.5, 0.5, units)}
            if activation != "sigmoid":
                layer["slope"] = rng.uniform(-0.9, 0.9, units)
            if activation == "dice":
                layer.update(mean=rng.uniform(-0.5, 0.5, units), variance=rng.uniform(0.3, 2, units))
            layer = {name: x.astype(np.float32) for name, x in layer.items()}
            inputs.update({f"{name}_{number}": x for name, x in layer.items()})
            layers.append({name: x.astype(np.float64) for name, x in layer.items()})
            before = units
        weight_3, bias_3 = rng.uniform(-0.5, 0.5, (1, before)).astype(np.float32), rng.uniform(-0.5, 0.5, 1).astype(np.float32)
        inputs.update(weight_3=weight_3, bias_3=bias_3)
        params = {"dtype": kind, "activation": activation, "softmax": softmax, "scale": scale, "dice_eps": 1e-3}
        if activation != "dice":
            del params["dice_eps"]
        out = din_attention(exact[0], co, exact[1], exact[2], ho, layers, weight_3.astype(np.float64), bias_3.astype(np.float64),
                            activation, scale, softmax, 1e-3)
        tolerance = {"f32": 2e-5, "f16": 2e-3, "bf16": 2e-2}[kind]
        case(f"din_attention_{activation}_{kind}", "din_attention", params, inputs, {"out": out}, tolerance, tolerance)


def stca_cases():
    """The layer as it is defined: queries, keys and values laid out, whichever way the operator takes."""
    rng = np.random.default_rng(20)
    nc, nk = [3, 0, 5, 1], [61, 4, 130, 0]
    co, ho = offsets(nc), offsets(nk, np.int32)
    for name, kind, dim, heads, head_dim, params in (("reordered_f32", "f32", 288, 2, 32, {"path": "reordered"}),
                                                     ("reordered_bf16", "bf16", 320, 3, 64, {"path": "reordered"}),
                                                     ("reordered_f16", "f16", 96, 2, 32, {"path": "reordered"}),
                                                     ("materialised_bf16", "bf16", 160, 2, 64, {"path": "materialised"}),
                                                     ("auto_f32", "f32", 128, 2, 96, {}),
                                                     ("kept_f16", "f16", 128, 2, 64, {"keep_keys": True})):
        width, scale = heads * head_dim, head_dim ** -0.5
        c, x = (rng.standard_normal((n, dim)).astype(np.float32) for n in (sum(nc), sum(nk)))
        if kind == "f16":
            c, x = c.astype(np.float16), x.astype(np.float16)
        exact = [(bf16(rows)[1] if kind == "bf16" else rows).astype(np.float64) for rows in (c, x)]
        wq, wk, wv = ((rng.standard_normal((width, dim)) * dim ** -0.5).astype(np.float32) for _ in range(3))
        q, k, v = (rows @ w.T.astype(np.float64) for rows, w in zip((exact[0], exact[1], exact[1]), (wq, wk, wv)))
        out = np.zeros((sum(nc), width))
        for b in range(len(nc)):
            keys, values = (t[ho[b]:ho[b + 1]].reshape(-1, heads, head_dim) for t in (k, v))
            if len(keys) == 0:
                continue
            queries = q[co[b]:co[b + 1]].reshape(-1, heads, head_dim)
            weights = np.exp(scale * np.einsum("ihd,jhd->hij", queries, keys))
            weights /= weights.sum(2, keepdims=True)
            out[co[b]:co[b + 1]] = np.einsum("hij,jhd->ihd", weights, values).reshape(-1, width)
        outputs = {"out": out}
        if params.get("keep_keys"):
            outputs.update(keys=k, values=v)
        inputs = {"candidates": c, "candidate_offsets": co, "events": x, "history_offsets": ho, "query_weight": wq, "key_weight": wk,
                  "value_weight": wv}
        tolerance = {"f32": 2e-5, "f16": 4e-3, "bf16": 3e-2}[kind]
        case(f"stca_attention_{name}", "stca_attention", {"dtype": kind, "num_heads": heads, "scale": scale, **params}, inputs, outputs,
             tolerance, tolerance)


def sequence_embedding(tables, ids, off, summed, scale=1.0, positions=None, from_end=False, contexts=0, times=None, log=False,
                       max_bucket=None, timestamps=None, query_times=None, targets=None, padding_id=None):
    def rows(table, column):
        known = (column != padding_id) & (column >= 0) & (column < len(table))
        return np.where(known[:, None], table.astype(np.float64)[np.where(known, column, 0)], 0)

    parts = [rows(table, column) for table, column in zip(tables, ids)]
    out = scale * (sum(parts) if summed else np.concatenate(parts, 1))
    for b in range(len(off) - 1):
        n = off[b + 1] - off[b]
        for i in range(n):
            end = n - (0 if targets is None else targets[b])
            if positions is not None:
                row = i if i < contexts else (contexts + max(end - i, 0) if from_end else min(i, end))
                out[off[b] + i] += positions[min(row, len(positions) - 1)].astype(np.float64)
            if times is not None:
                now = timestamps[off[b + 1] - 1] if query_times is None else query_times[b]
                minutes = max(now - timestamps[off[b] + i], 1e-6) / 60
                bucket = max(int(np.log(minutes) if log else np.sqrt(minutes)), 0)
                out[off[b] + i] += times[min(bucket, len(times) - 1 if max_bucket is None else max_bucket)].astype(np.float64)
    return out


def sequence_cases(rng):
    def f32(*shape):
        return rng.standard_normal(shape).astype(np.float32)

    lengths = [9, 0, 1, 24]
    off, total = offsets(lengths, np.int64), sum(lengths)
    targets = np.array([2, 0, 1, 5], np.int32)
    timestamps = np.sort(rng.integers(1700000000, 1700400000, total)).astype(np.int64)
    tables = [f32(30, 16), f32(12, 16)]
    ids = np.stack([rng.integers(0, len(table), total) for table in tables]).astype(np.int64)
    named = {f"table_{t}": table for t, table in enumerate(tables)}
    positions, times = f32(20, 16), f32(40, 16)
    case("sequence_embedding_hstu", "sequence_embedding",
         {"combine": "sum", "scale": 4.0, "position_mode": "from_end", "contextual_seq_len": 1, "time_function": "sqrt", "max_time_bucket": 15},
         {**named, "ids": ids, "offsets": off, "position_table": positions, "time_table": times, "timestamps": timestamps,
          "num_targets": targets},
         {"out": sequence_embedding(tables, ids, off, True, 4.0, positions, True, 1, times, max_bucket=15, timestamps=timestamps,
                                    targets=targets)}, 1e-5, 1e-5)
    ids[0, 3], ids[1, 7], ids[1, 8] = 30, -1, 5
    wide = [f32(20, 32), f32(40, 32)]
    asked = (timestamps[[8, 8, 9, 33]] + 100000).astype(np.int64)
    case("sequence_embedding_concat", "sequence_embedding",
         {"position_mode": "from_start", "time_function": "log", "bounds": "zero", "padding_id": 5},
         {**named, "ids": ids, "offsets": off, "position_table": wide[0], "time_table": wide[1], "timestamps": timestamps,
          "query_times": asked},
         {"out": sequence_embedding(tables, ids, off, False, 1.0, wide[0], False, 0, wide[1], True, None, timestamps, asked, None,
                                    5)}, 1e-5, 1e-5)


def sequence_code_cases():
    """Position and time tables of codes."""
    rng = np.random.default_rng(71)
    off, total = offsets([7, 0, 12], np.int64), 19
    timestamps = np.sort(rng.integers(1700000000, 1700200000, total)).astype(np.int64)
    table = rng.standard_normal((9, 24)).astype(np.float32)
    ids = rng.integers(0, 9, (1, total))
    (positions, position_values), (times, time_values) = (rows_of_codes(rng, kind, 10, 24, 4) for kind in ("fbgemm_int4", "fbgemm_int8_float"))
    case("sequence_embedding_codes", "sequence_embedding",
         {"position_mode": "from_end", "position_row_format": "fbgemm_int4", "time_row_format": "fbgemm_int8_float"},
         {"table_0": table, "ids": ids, "offsets": off, "position_table": (positions, "U8"), "time_table": (times, "U8"),
          "timestamps": timestamps},
         {"out": sequence_embedding([table], ids, off, False, 1.0, position_values, True, 0, time_values, timestamps=timestamps)}, 1e-5, 1e-5)


def rows_of(keys, key, table_rows):
    """The rows that an id chooses, with Python's integers; none when a function does not take it."""
    def mix(x):
        x ^= x >> 33
        x = x * 0xff51afd7ed558ccd % 2**64
        x ^= x >> 33
        x = x * 0xc4ceb9fe1a85ec53 % 2**64
        return x ^ x >> 33

    rows = []
    for f in keys["functions"]:
        n = f.get("num_rows", 0) or table_rows - f.get("first_row", 0)
        row = {"row": lambda: key, "modulo": lambda: key % n, "quotient": lambda: key // f["divisor"],
               "hash": lambda: mix(key % 2**64 ^ mix(f["seed"] % 2**64)) % n}[f["kind"]]()
        if not 0 <= row < n:
            return []
        rows.append(f.get("first_row", 0) + row)
    return rows


def key_cases(rng):
    """Ids of 64 bits that functions turn into rows: sums, rows side by side, quotient and remainder, ids out of range."""
    plain = {"functions": [{"kind": "row"}]}
    keys = [{"combine": "sum", "functions": [{"kind": "hash", "seed": 7}, {"kind": "hash", "seed": -9, "first_row": 10, "num_rows": 25}]},
            {"combine": "concat", "functions": [{"kind": "quotient", "divisor": 8, "num_rows": 12},
                                                {"kind": "modulo", "first_row": 12, "num_rows": 8}]},
            {"functions": [{"kind": "modulo"}]}, None]
    tables = [rng.standard_normal((rows, dim)).astype(np.float32) for rows, dim in [(40, 16), (20, 8), (13, 12), (9, 16)]]
    batch = 5
    off = offsets(rng.integers(0, 7, len(tables) * batch), np.int64)
    ids = rng.integers(-2**63, 2**63 - 1, off[-1], dtype=np.int64)
    of_table = lambda t: slice(off[t * batch], off[(t + 1) * batch])
    ids[of_table(1)] = rng.integers(-1, 98, len(ids[of_table(1)]))  # 96 pairs
    ids[of_table(3)] = rng.integers(0, 9, len(ids[of_table(3)]))
    weights = rng.uniform(0.5, 2, len(ids)).astype(np.float32)
    pools = ["mean", "max", "sum", "sum"]
    blocks = []
    for t, table in enumerate(tables):
        k = keys[t] or plain
        copies = len(k["functions"]) if k.get("combine") == "concat" else 1
        out = np.zeros((batch, copies * table.shape[1]))
        for b in range(batch):
            rows, used = [], []
            for i in range(off[t * batch + b], off[t * batch + b + 1]):
                chosen = table[rows_of(k, int(ids[i]), len(table))].astype(np.float64)
                if len(chosen):
                    rows.append(weights[i] * (chosen.reshape(-1) if copies > 1 else chosen.sum(0)))
                    used.append(weights[i])
            if rows:
                out[b] = np.max(rows, 0) if pools[t] == "max" else np.sum(rows, 0) / (sum(used) if pools[t] == "mean" else 1)
        blocks.append(out)
    named = {f"table_{t}": table for t, table in enumerate(tables)}
    case("embedding_bag_keys", "embedding_bag", {"pooling": pools, "batch": batch, "bounds": "zero", "keys": keys},
         {**named, "ids": ids, "offsets": off, "weights": weights}, {"out": np.concatenate(blocks, 1)}, 1e-5, 1e-5)

    total = 21
    history = np.stack([rng.integers(-2**63, 2**63 - 1, total, dtype=np.int64), rng.integers(0, 96, total)]).astype(np.int64)
    rows = [[table[rows_of(k, int(key), len(table))] for key in column] for k, table, column in zip(keys, tables, history)]
    out = np.concatenate([np.array([r.astype(np.float64).sum(0) for r in rows[0]]),
                          np.array([r.astype(np.float64).reshape(-1) for r in rows[1]])], 1)
    case("sequence_embedding_keys", "sequence_embedding", {"combine": "concat", "scale": 2.0, "keys": keys[:2]},
         {"table_0": tables[0], "table_1": tables[1], "ids": history, "offsets": offsets([13, 0, 8], np.int64)},
         {"out": 2.0 * out}, 1e-5, 1e-5)


def search_cases(rng):
    """Retrieval inside long histories. Searches are of small integers, of which all scores are exact and many are equal."""
    nc, nk = [5, 0, 12], [150, 9, 40]
    co, ho = offsets(nc), offsets(nk)

    def found(k, scores):
        """scores(candidate, events of its user) -> the k largest by (score, index), their scores, how many there are."""
        indices, values, counts = np.full((sum(nc), k), -1), np.full((sum(nc), k), -np.inf), np.zeros(sum(nc))
        for b in range(len(nc)):
            for i in range(co[b], co[b + 1]):
                s = scores(i, slice(ho[b], ho[b + 1]))
                order = sorted((j for j in range(len(s)) if s[j] > -np.inf), key=lambda j: (-s[j], -j))[:k]
                indices[i, :len(order)], values[i, :len(order)], counts[i] = order, s[order], len(order)
        return indices, values, counts

    base = {"candidate_offsets": co, "history_offsets": ho}
    for kind, dim in (("f32", 64), ("bf16", 24)):
        q = rng.integers(-3, 4, (sum(nc), dim)).astype(np.float32)
        k = rng.integers(-3, 4, (sum(nk), dim)).astype(np.float32)
        inputs, bias = {**base, "queries": q, "keys": k}, np.zeros(sum(nk))
        if kind == "bf16":
            bias = inputs["bias"] = rng.integers(-20, 20, sum(nk)).astype(np.float32)
        indices, scores, counts = found(20, lambda i, events: k[events].astype(np.float64) @ q[i] + bias[events])
        case(f"history_search_dot_{kind}", "history_search", {"method": "dot", "k": 20, "dtype": kind}, inputs,
             {"indices": indices, "scores": scores, "counts": counts}, 0)

    q, k = rng.integers(0, 9, sum(nc)), rng.integers(0, 9, sum(nk))
    indices, _, counts = found(10, lambda i, events: np.where(k[events] == q[i], 0.0, -np.inf))
    case("history_search_hard", "history_search", {"method": "hard", "k": 10}, {**base, "queries": q, "keys": k},
         {"indices": indices, "counts": counts}, 0)

    # lsh: signatures of vectors, then the nearest by Hamming distance.
    projection, x, y = (rng.uniform(-1, 1, (n, 32)).astype(np.float32) for n in (128, sum(nk), sum(nc)))
    products = x.astype(np.float64) @ projection.T.astype(np.float64)
    keep = np.abs(products).min(1) > 1e-5  # rounding decides the others
    case("lsh_signatures_f32", "lsh_signatures", {}, {"x": x[keep], "projection": projection},
         {"bits": (products[keep] > 0).astype(np.float64)}, 0)
    bits_k, bits_q = products > 0, y.astype(np.float64) @ projection.T.astype(np.float64) > 0
    words = lambda bits: np.packbits(bits, axis=1, bitorder="little").view(np.int64)
    indices, scores, counts = found(20, lambda i, events: -(bits_k[events] != bits_q[i]).sum(1).astype(np.float64))
    case("history_search_lsh", "history_search", {"method": "lsh", "k": 20},
         {**base, "queries": words(bits_q), "keys": words(bits_k)},
         {"indices": indices, "scores": -scores, "counts": counts}, 0)

    # search_attention over what was found, four query heads over two of keys and values, 64 and 32 wide.
    q = rng.uniform(-1, 1, (sum(nc), 4, 64)).astype(np.float32)
    k = rng.uniform(-1, 1, (sum(nk), 2, 64)).astype(np.float32)
    v = rng.uniform(-1, 1, (sum(nk), 2, 32)).astype(np.float32)
    for kind in ("softmax", "silu"):
        out, lse = np.zeros((sum(nc), 4, 32)), np.zeros((sum(nc), 4))
        for b in range(len(nc)):
            for i in range(co[b], co[b + 1]):
                rows = ho[b] + indices[i]
                for h in range(4):
                    s = k[rows, h // 2].astype(np.float64) @ q[i, h].astype(np.float64) * 0.2
                    weights = np.exp(s) / np.exp(s).sum() if kind == "softmax" else s / (1 + np.exp(-s)) / 20
                    out[i, h], lse[i, h] = weights @ v[rows, h // 2].astype(np.float64), np.log(np.exp(s).sum())
        params = {"scale": 0.2, "activation": kind, **({"scaling_seqlen": 20} if kind == "silu" else {})}
        case(f"search_attention_{kind}", "search_attention", params,
             {**base, "candidates": q, "keys": k, "values": v, "indices": indices.astype(np.int32)},
             {"out": out, **({"lse": lse} if kind == "softmax" else {})}, 1e-5)


def beam_cases():
    """beam_attention: two requests, the second a level behind, over a prefix in rows and in pages of int8 codes."""
    rng = np.random.default_rng(22)

    def f32(*shape):
        return rng.uniform(-1, 1, shape).astype(np.float32)

    beams, prefix, lens, levels, slots, heads, kv_heads, dim, dim_v = [6, 3], [41, 7], [3, 2], 3, 8, 4, 2, 64, 96
    b_off, p_off = offsets(beams), offsets(prefix)
    q, k, v = f32(sum(beams), heads, dim), f32(sum(prefix), kv_heads, dim), f32(sum(prefix), kv_heads, dim_v)
    sk, sv = f32(2, levels, slots, kv_heads, dim), f32(2, levels, slots, kv_heads, dim_v)
    ancestry = rng.integers(0, slots, (2, levels, slots)).astype(np.int32)
    common = {"queries": q, "beam_offsets": b_off, "suffix_keys": sk, "suffix_values": sv, "ancestry": ancestry,
              "suffix_lens": np.array(lens, np.int32)}

    def expected(k, v):
        out, lse = np.zeros((sum(beams), heads, dim_v)), np.zeros((sum(beams), heads))
        for b in range(2):
            for w in range(beams[b]):
                own = [(l, ancestry[b, l, w]) for l in range(lens[b])]
                for h in range(heads):
                    g = h // (heads // kv_heads)
                    keys = np.concatenate([k[p_off[b]:p_off[b + 1], g], [sk[b, l, s, g] for l, s in own]]).astype(np.float64)
                    values = np.concatenate([v[p_off[b]:p_off[b + 1], g], [sv[b, l, s, g] for l, s in own]]).astype(np.float64)
                    scores = keys @ q[b_off[b] + w, h].astype(np.float64) * 0.2
                    weights = np.exp(scores - scores.max())
                    out[b_off[b] + w, h] = weights @ values / weights.sum()
                    lse[b_off[b] + w, h] = scores.max() + np.log(weights.sum())
        return {"out": out, "lse": lse}

    case("beam_attention_rows", "beam_attention", {"scale": 0.2}, {**common, "keys": k, "values": v, "prefix_offsets": p_off},
         expected(k.astype(np.float64), v.astype(np.float64)), 1e-5)
    pages = Pages(rng, prefix, 16)
    inputs = {**common, "page_table": pages.table, "seq_lens": np.array(prefix, np.int32)}
    exact = []
    for name, x in (("key", k), ("value", v)):
        scale = (np.abs(x).max(-1) / np.float32(127)).astype(np.float32)
        codes = np.rint(x / scale[..., None]).astype(np.int8)
        inputs[f"{name}_pages"], inputs[f"{name}_scales"] = pages.spread(codes, 127), pages.spread(scale, np.nan)
        exact.append(codes * scale[..., None].astype(np.float64))
    case("beam_attention_int8", "beam_attention", {"scale": 0.2}, inputs, expected(*exact), 1e-5)


def block_cases():
    """linear, layer_norm and l2_normalize, with every optional input and without."""
    rng = np.random.default_rng(23)

    def f32(*shape):
        return rng.standard_normal(shape).astype(np.float32)

    x, weight, bias, residual = f32(13, 20), f32(12, 20), f32(12), f32(13, 12)
    wide = lambda t: t.astype(np.float64)
    product = wide(x) @ wide(weight).T
    case("linear", "linear", {}, {"x": x, "weight": weight}, {"out": product}, 1e-5)
    z = product + wide(bias)
    case("linear_silu_residual", "linear", {"activation": "silu"},
         {"x": x, "weight": weight, "bias": bias, "residual": residual}, {"out": z / (1 + np.exp(-z)) + wide(residual)}, 1e-5)

    x = np.concatenate([f32(9, 36) * 3 + 1, np.zeros((1, 36), np.float32)])
    weight, bias, multiplier = f32(36), f32(36), f32(10, 36)
    normed = (wide(x) - wide(x).mean(1, keepdims=True)) / np.sqrt(wide(x).var(1, keepdims=True) + 1e-3)
    normed = normed * wide(weight) + wide(bias)
    case("layer_norm", "layer_norm", {"eps": 1e-3}, {"x": x, "weight": weight, "bias": bias}, {"out": normed}, 1e-5)
    case("layer_norm_multiplier", "layer_norm", {"eps": 1e-3},
         {"x": x, "weight": weight, "bias": bias, "multiplier": multiplier}, {"out": normed * wide(multiplier)}, 2e-5)
    norms = np.sqrt((wide(x) ** 2).sum(1, keepdims=True))
    case("l2_normalize", "l2_normalize", {"eps": 1e-6}, {"x": x}, {"out": wide(x) / np.maximum(norms, 1e-6)}, 1e-6)
    x = np.round(rng.uniform(-4, 4, (7, 50)) * 16).astype(np.float32) / 16  # exact in 16 bits
    norms = np.sqrt((wide(x) ** 2).sum(1, keepdims=True))
    for kind, tolerance in (("f16", 5e-4), ("bf16", 4e-3)):
        case(f"l2_normalize_{kind}", "l2_normalize", {"eps": 1e-6, "dtype": kind}, {"x": x}, {"out": wide(x) / norms}, tolerance)


def longer_cases():
    """longer_attention and merge_tokens. Two users, the second with as many rows as events."""
    rng = np.random.default_rng(26)

    def uniform(*shape):
        return rng.uniform(-1, 1, shape).astype(np.float32)

    def attention(q, gk, gv, k, v, g, s, candidates, recent, n, scale, candidates_only=False):
        """Users one by one, a mask from what each row and each key is; tokens are (sort, number): 0 shared, 1 of a candidate, 2 event."""
        heads, out, lse = q.shape[1], [], []
        row = g_at = k_at = 0
        for b in range(len(n)):
            shared, own = [(0, 0)] * s, [(1, i) for i in range(candidates[b]) for _ in range(g - s)]
            keys = shared + own + [(2, j) for j in range(n[b])]
            rows = own if candidates_only else shared + own + [(2, j) for j in range(n[b] - recent[b], n[b])]
            sees = np.array([[kind == 0 or (kind == 1 and (kind, number) == of) or (kind == 2 and (of[0] != 2 or number <= of[1]))
                              for kind, number in keys] for of in rows])
            m = len(shared + own)
            for i in range(len(rows)):
                for h in range(heads):
                    kv = h // (heads // k.shape[1])
                    at = lambda globals_, events: np.concatenate([globals_[g_at:g_at + m, kv], events[k_at:k_at + n[b], kv]]).astype(float)
                    scores = np.where(sees[i], at(gk, k) @ q[row + i, h].astype(float) * scale, -np.inf)
                    weights = np.exp(scores - scores.max())
                    out.append(weights @ at(gv, v) / weights.sum())
                    lse.append(scores.max() + np.log(weights.sum()))
            row, g_at, k_at = row + len(rows), g_at + m, k_at + n[b]
        return {"out": np.array(out).reshape(row, heads, -1), "lse": np.array(lse).reshape(row, heads)}

    heads, kv_heads, dim, dim_v, n, recent, candidates = 4, 2, 64, 96, [41, 5], [6, 5], [3, 1]
    k, v, k_off = uniform(sum(n), kv_heads, dim), uniform(sum(n), kv_heads, dim_v), offsets(n)

    def tokens(rows, globals_):
        return {"queries": uniform(sum(rows), heads, dim), "q_offsets": offsets(rows), "global_keys": uniform(sum(globals_), kv_heads, dim),
                "global_values": uniform(sum(globals_), kv_heads, dim_v), "global_offsets": offsets(globals_)}

    def expected(x, k, v, *others, **named):
        return attention(x["queries"], x["global_keys"], x["global_values"], k, v, *others, **named)

    x = tokens([4 + 6, 4 + 5], [4, 4])
    case("longer_attention_globals", "longer_attention", {"scale": 0.2, "num_global": 4},
         {**x, "keys": k, "values": v, "k_offsets": k_off}, expected(x, k, v, 4, 4, [0, 0], recent, n, 0.2), 1e-5)
    globals_ = [2 + 3 * c for c in candidates]
    x = tokens([m + r for m, r in zip(globals_, recent)], globals_)
    case("longer_attention_candidates", "longer_attention", {"scale": 0.2, "num_global": 5, "num_shared_globals": 2},
         {**x, "keys": k, "values": v, "k_offsets": k_off}, expected(x, k, v, 5, 2, candidates, recent, n, 0.2), 1e-5)
    x = tokens([3 * c for c in candidates], globals_)
    pages = Pages(rng, n, 16)
    inputs, exact = {**x, "page_table": pages.table, "seq_lens": np.array(n, np.int32)}, []
    for name, rows in (("key", k), ("value", v)):
        scale = (np.abs(rows).max(-1) / np.float32(127)).astype(np.float32)
        codes = np.rint(rows / scale[..., None]).astype(np.int8)
        inputs[f"{name}_pages"], inputs[f"{name}_scales"] = pages.spread(codes, 127), pages.spread(scale, np.nan)
        exact.append(codes * scale[..., None].astype(np.float64))
    case("longer_attention_cached_int8", "longer_attention",
         {"scale": 0.2, "num_global": 5, "num_shared_globals": 2, "candidates_only": True}, inputs,
         expected(x, *exact, 5, 2, candidates, recent, n, 0.2, candidates_only=True), 1e-5)

    lengths, dim = [7, 0, 3, 8], 12
    x, off, merged = uniform(sum(lengths), dim), offsets(lengths), []
    for b, length in enumerate(lengths):
        missing = -length % 4
        merged.append(np.concatenate([np.zeros((missing, dim)), x[off[b]:off[b + 1]]]).reshape(-1, 4 * dim))
    case("merge_tokens_f32", "merge_tokens", {"k": 4}, {"x": x, "offsets": off}, {"out": np.concatenate(merged)}, 0)


def key_and_code_cases():
    """Rows of codes to and fro, and rows by 64-bit key."""
    rng = np.random.default_rng(24)
    for kind, top in (("fbgemm_int8", 255), ("fbgemm_int4", 15), ("fbgemm_int2_last", 3)):
        # Numbers that lie on codes, the least and the largest in every row: the bytes are beyond doubt.
        codes = rng.integers(0, top + 1, (6, 32))
        codes[:, 3], codes[:, 17] = 0, top
        x = (codes * 0.25 - 1.5).astype(np.float32)
        bits = {255: 8, 15: 4, 3: 2}[top]
        head = np.array([0.25, -1.5], np.float16).tobytes()
        packed = [bytes(sum(int(row[i + e]) << (bits * e) for e in range(8 // bits)) for i in range(0, 32, 8 // bits)) for row in codes]
        rows = [body + head if kind.endswith("last") else head + body for body in packed]
        case(f"quantize_rows_{kind}", "quantize_rows", {"row_format": kind}, {"x": x},
             {"rows": np.frombuffer(b"".join(rows), np.uint8).reshape(6, -1), "out": x}, 0)
    x = rng.uniform(-3, 5, (7, 20)).astype(np.float32)
    case("quantize_rows_error", "quantize_rows", {"row_format": "fbgemm_int8_float"}, {"x": x}, {"out": x}, 8 / 255 / 2 * 1.001)
    rows, stands = rows_of_codes(rng, "e4m3", 9, 24, 16)
    case("dequantize_rows_e4m3", "dequantize_rows", {"row_format": "e4m3", "dim": 24}, {"rows": (rows, "U8")}, {"out": stands}, 1e-6, 1e-6)

    keys = np.unique(rng.integers(-2 ** 62, 2 ** 62, 300))
    table, default = rng.standard_normal((len(keys), 16)).astype(np.float32), rng.standard_normal(16).astype(np.float32)
    there = rng.integers(0, len(keys), 100)
    ids = np.where(rng.random(100) < 0.8, keys[there], 12345 + np.arange(100))
    found = np.isin(ids, keys)
    case("hash_lookup_zero", "hash_lookup", {}, {"keys": keys, "rows": table, "ids": ids},
         {"out": np.where(found[:, None], table[there], 0)}, 0)
    case("hash_lookup_default", "hash_lookup", {"missing": "default"},
         {"keys": keys, "rows": table, "ids": ids, "default_row": default}, {"out": np.where(found[:, None], table[there], default)}, 0)


def top_k_cases():
    """top_k_inner_product of small integers, of which all scores are exact and many are equal: the lower index comes first."""
    rng = np.random.default_rng(44)
    for name, kind, m, n, dim, k, filtered in (("f32", "f32", 5, 300, 64, 20, None), ("bf16_many_queries", "bf16", 40, 200, 24, 9, None),
                                               ("f16_filtered", "f16", 3, 131, 72, 50, "shared"),
                                               ("f32_filtered_each", "f32", 18, 150, 16, 30, "each"),
                                               ("bf16_long_rows", "bf16", 18, 70, 392, 25, "shared"),
                                               ("int8_rows", "bf16", 5, 140, 40, 20, None)):
        q, x = (rng.integers(-3, 4, (rows, dim)).astype(np.float32) for rows in (m, n))
        inputs, allowed = {"queries": q, "items": x}, np.ones((m, n), bool)
        if filtered == "shared":
            inputs["allowed"] = rng.uniform(0, 1, n) < 0.25  # fewer than k
            allowed = np.broadcast_to(inputs["allowed"], (m, n))
        elif filtered == "each":
            allowed = inputs["allowed"] = rng.uniform(0, 1, (m, n)) < rng.uniform(0, 0.6, (m, 1))
        scores = q.astype(np.float64) @ x.astype(np.float64).T
        indices, values = np.full((m, k), -1), np.full((m, k), -np.inf)
        for i in range(m):
            order = sorted(np.flatnonzero(allowed[i]), key=lambda j: (-scores[i, j], j))[:k]
            indices[i, :len(order)], values[i, :len(order)] = order, scores[i, order]
        params = {"k": k, "dtype": kind}
        if name == "int8_rows":  # code * 1 - 3
            params["row_format"] = "fbgemm_int8"
            head = np.frombuffer(np.array([1, -3], np.float16).tobytes(), np.uint8)
            inputs["items"] = np.concatenate([np.tile(head, (n, 1)), (x + 3).astype(np.uint8)], 1), "U8"
        case(f"top_k_inner_product_{name}", "top_k_inner_product", params, inputs, {"indices": indices, "scores": values}, 0)


def softcap_bias_cases():
    """A soft-cap of scores with a bias, from the formula by whole matrices: s = c * tanh((scale * q k' + bias) / c). Biases exceed the
    cap; of a dense one -inf hides a key, a row has none left, and -10000 is a bias like others."""
    rng = np.random.default_rng(23)
    heads, dim, nq, nk, c, scale = 4, 64, [11, 2], [40, 7], 2.0, 0.3
    q, k, v = (rng.standard_normal((sum(n), h, dim)).astype(np.float32) for n, h in ((nq, heads), (nk, 2), (nk, 2)))
    q_off, k_off = offsets(nq), offsets(nk)
    slopes = (2.0 ** -np.arange(heads)).astype(np.float32)
    matrix = (4 * rng.standard_normal((heads, max(nq), max(nk)))).astype(np.float32)
    matrix[rng.random(matrix.shape) < 0.25] = -np.inf
    matrix[:, :, 3], matrix[1, 5] = -10000, -np.inf
    for name, causal, inputs in (("alibi", True, {"alibi_slopes": slopes}), ("bias", False, {"bias": matrix})):
        out, lse = np.zeros((sum(nq), heads, dim)), np.zeros((sum(nq), heads))
        for b in range(len(nq)):
            rows, keys = slice(q_off[b], q_off[b + 1]), slice(k_off[b], k_off[b + 1])
            distance = np.arange(nk[b] - nq[b], nk[b])[:, None] - np.arange(nk[b])
            for h in range(heads):
                bias = -slopes[h] * np.abs(distance) if name == "alibi" else matrix[h, :nq[b], :nk[b]]
                bias = bias.astype(np.float64)
                s = c * np.tanh((scale * q[rows, h].astype(np.float64) @ k[keys, h // 2].astype(np.float64).T + bias) / c)
                weights = np.where((bias > -np.inf) & ((distance >= 0) | (not causal)), np.exp(s), 0)
                total = weights.sum(1, keepdims=True)
                out[rows, h] = weights @ v[keys, h // 2] / np.where(total == 0, 1, total)
                with np.errstate(divide="ignore"):
                    lse[rows, h] = np.log(total[:, 0])
        case(f"softmax_attention_softcap_{name}", "softmax_attention",
             {"scale": scale, "dtype": "f32", "softcap": c, "mask": "causal" if causal else "none"},
             {"queries": q, "keys": k, "values": v, "q_offsets": q_off, "k_offsets": k_off, **inputs}, {"out": out, "lse": lse}, 1e-5)


def non_causal_cases():
    """HSTU that sees what follows, too: the window reaches both ways; in rows, and the last rows of each sequence over pages."""
    rng = np.random.default_rng(60)
    f32 = lambda *shape: rng.standard_normal(shape).astype(np.float32)
    lengths, heads, dim, reach = [29, 0, 2, 17], 2, 32, 29
    off, total = offsets(lengths), sum(lengths)
    targets = np.array([4, 0, 1, 0])
    q, k, v = f32(total, heads, dim), f32(total, heads, dim), f32(total, heads, dim)
    wide = [x.astype(np.float64) for x in (q, k, v)]
    params = {"alpha": 0.2, "scaling_seqlen": 40, "causal": False, "contextual_seq_len": 3, "max_attn_len": 6, "min_full_attn_seq_len": 4}
    case("hstu_attention_non_causal", "hstu_attention", params,
         {"queries": q, "keys": k, "values": v, "offsets": off, "num_targets": targets},
         {"out": hstu_attention(*wide, off, 0.2, 40, targets, 3, 6, 4, causal=False)}, 1e-5)

    # Timestamps as hstu_attention has them, row behind row; the pages in any order.
    position, time = f32(2 * reach - 1), f32(21)
    stamps = np.cumsum(rng.integers(0, 40000, total))

    def rab(lo, hi, h):
        at = np.arange(hi - lo)
        bucket = np.clip(np.floor(np.log(np.maximum(1, np.abs(stamps[lo:hi, None] - stamps[None, lo:hi]))) / 0.301), 0, 20).astype(int)
        return position.astype(np.float64)[reach - 1 + at[None, :] - at[:, None]] + time.astype(np.float64)[bucket]

    out = hstu_attention(*wide, off, 0.2, 40, targets, 3, 6, 4, rab=rab, causal=False)
    last, table = [5, 0, 2, 17], np.array([[3, 1], [0, 0], [4, 0], [2, 0]])
    pages = [f32(5, 16, heads, dim) for _ in range(2)]
    table[3] = [0, 2]
    for b, n in enumerate(lengths):
        for r in range(n):
            for rows, kept in zip((k, v), pages):
                kept[table[b, r // 16], r % 16] = rows[off[b] + r]
    rows = np.concatenate([np.arange(off[b + 1] - last[b], off[b + 1]) for b in range(4)])
    case("cached_hstu_attention_paged_non_causal", "cached_hstu_attention", params,
         {"queries": q[rows], "q_offsets": offsets(last), "key_pages": pages[0], "value_pages": pages[1],
          "page_table": table.astype(np.int32), "seq_lens": np.array(lengths, np.int32), "num_targets": targets,
          "timestamps": stamps, "position_bias": position, "time_bias": time}, {"out": out[rows]}, 1e-5)


def bag_result_cases():
    """Results of each table apart, and in codes with a scale for each row of a table's columns."""
    rng = np.random.default_rng(61)
    tables = [rng.standard_normal((9, dim)).astype(np.float32) for dim in (16, 4)]
    off = offsets([2, 0, 3, 1, 1, 4])
    ids = rng.integers(0, 9, 11)
    inputs = {"table_0": tables[0], "table_1": tables[1], "ids": ids, "offsets": off}
    out = embedding_bag(tables, ids, off, 3, "sum")
    case("embedding_bag_split", "embedding_bag", {"pooling": "sum", "batch": 3, "split_out": True}, inputs,
         {"out_0": out[:, :16], "out_1": out[:, 16:]}, 1e-6)
    scales = np.stack([np.abs(out[:, :16]).max(1), np.abs(out[:, 16:]).max(1)], 1) / 127
    steps = np.repeat(scales, [16, 4], 1)
    case("embedding_bag_int8_out", "embedding_bag", {"pooling": "sum", "batch": 3, "out_dtype": "int8"}, inputs,
         {"out": np.round(out / np.where(steps > 0, steps, 1)) * steps, "out_scales": scales}, 1e-5)

    # A row an id, of tables of two dims: a block each.
    weights = rng.uniform(0.5, 2, 11).astype(np.float32)
    ids[4] = -1
    first = int(off[3])
    blocks = [np.stack([w * table[i] if i >= 0 else 0 * table[0] for i, w in zip(ids[part], weights[part].astype(np.float64))])
              for table, part in zip([t.astype(np.float64) for t in tables], (slice(0, first), slice(first, None)))]
    params = {"pooling": "none", "batch": 3, "split_out": True, "bounds": "zero"}
    inputs = {**inputs, "ids": ids, "weights": weights}
    case("embedding_bag_none_split", "embedding_bag", params, inputs, {f"out_{t}": x for t, x in enumerate(blocks)}, 1e-6)
    steps = [np.abs(x).max(1, keepdims=True) / 127 for x in blocks]
    case("embedding_bag_none_int8", "embedding_bag", {**params, "out_dtype": "int8"}, inputs,
         {**{f"out_{t}": np.round(x / np.where(s > 0, s, 1)) * s for t, (x, s) in enumerate(zip(blocks, steps))},
          "out_scales": np.concatenate(steps)}, 1e-5)

    # A row an id of the first table beside the pooled rows of the second.
    params = {**params, "pooling": ["none", "mean"]}
    means = embedding_bag(tables, ids, off, 3, ["sum", "mean"], weights)[:, 16:]
    case("embedding_bag_mixed_pooling", "embedding_bag", params, inputs, {"out_0": blocks[0], "out_1": means}, 1e-6)
    steps[1] = np.abs(means).max(1, keepdims=True) / 127
    coded = [np.round(x / np.where(s > 0, s, 1)) * s for x, s in zip((blocks[0], means), steps)]
    case("embedding_bag_mixed_pooling_int8", "embedding_bag", {**params, "out_dtype": "int8"}, inputs,
         {"out_0": coded[0], "out_1": coded[1],
          "out_scales": np.concatenate([steps[1][:, 0], steps[0][:, 0], np.zeros(len(ids) - first)])}, 1e-5)


def paged_cache_cases():
    """Rows appended to pages, read by hand and gathered; and hash tables after insertions and erasures, beside a dict."""
    rng = np.random.default_rng(67)
    off, total = offsets([19, 0, 33, 5]), 57
    keys, values = (rng.standard_normal((total, 2, dim)).astype(np.float32) * np.exp(rng.uniform(-3, 3, (total, 2, 1))).astype(np.float32)
                    for dim in (32, 64))
    keys[7, 1] = 0
    inputs = {"keys": keys, "values": values, "offsets": off}
    params = {"page_size": 16, "rows_a_call": 7}

    def int8(x):
        scale = np.abs(x).max(2).astype(np.float32) / np.float32(127)
        factor = np.where(scale > 0, scale, 1)[..., None].astype(np.float64)
        return np.round(x.astype(np.float32) / factor.astype(np.float32)) * scale[..., None].astype(np.float64), scale

    (k, k_scales), (v, v_scales) = int8(keys), int8(values)
    for op in ("paged_append", "paged_gather"):
        case(f"{op}_f32", op, params, inputs, {"keys": keys, "values": values}, 0)
        case(f"{op}_bf16", op, {**params, "cache_dtype": "bf16"}, inputs, {"keys": bf16(keys)[1], "values": bf16(values)[1]}, 0)
        case(f"{op}_int8", op, {**params, "cache_dtype": "int8"}, inputs,
             {"keys": k, "values": v, **({"key_scales": k_scales, "value_scales": v_scales} if op == "paged_append" else {})}, 1e-6, 1e-6)
        scales = {"key_scale": 2.0 ** -5, "value_scale": 0.25}
        case(f"{op}_fp8", op, {**params, "cache_dtype": "fp8", **scales}, inputs,
             {"keys": e4m3(keys / scales["key_scale"])[1] * scales["key_scale"],
              "values": e4m3(values / scales["value_scale"])[1] * scales["value_scale"]}, 1e-6, 1e-6)

    some = rng.integers(-2 ** 62, 2 ** 62, 60)
    given, rows = some[rng.integers(0, 60, 90)], rng.standard_normal((90, 8)).astype(np.float32)
    erased, ids = np.concatenate([some[::3], some[:2], [7]]), np.concatenate([some, [5]])
    table, inserted, gone = {}, [], []
    for key, row in zip(given, rows):
        inserted.append(0 if int(key) in table else 1)
        table[int(key)] = row
    out = [table.get(int(key), np.zeros(8)) for key in ids]
    case("hash_insert", "hash_insert", {}, {"keys": given, "rows": rows, "ids": ids}, {"outcomes": np.array(inserted), "out": np.array(out)}, 0)
    for key in erased:
        gone.append(5 if table.pop(int(key), None) is None else 0)
    out = [table.get(int(key), np.zeros(8)) for key in ids]
    case("hash_erase", "hash_erase", {}, {"keys": given, "rows": rows, "erased": erased, "ids": ids},
         {"outcomes": np.array(gone), "out": np.array(out)}, 0)


if __name__ == "__main__":
    main()
    key_and_code_cases()
    block_cases()
    beam_cases()
    stca_cases()
    longer_cases()
    top_k_cases()
    softcap_bias_cases()
    non_causal_cases()
    bag_result_cases()
    sequence_code_cases()
    paged_cache_cases()
