#!/usr/bin/env bash
# Compares the resources ptxas reports for every kernel and target with budgets.csv.
#
#   budgets.sh check <object>...     exit 1 when a kernel uses more than its row allows, spills, has no row, or is gone
#   budgets.sh print <object>...     prints the table as measured (to replace budgets.csv after a deliberate change)
#
# The reports are <object>.ptxas, written by keep_report.sh. Columns: kernel, target, registers, stack bytes, spill bytes (stores and
# loads), static shared bytes. Dynamic shared memory is fixed by each kernel's shared_bytes() and checked when it compiles.
set -eu
mode=$1
shift
here=$(cd "$(dirname "$0")" && pwd)

reports=()
for object in "$@"; do
  [ -f "$object.ptxas" ] && reports+=("$object.ptxas")
done
[ ${#reports[@]} -gt 0 ] || { echo "budgets: no reports beside the objects: build jindou_cuda first" >&2; exit 1; }

measured=$(awk '
  /Compiling entry function/ {
    split($0, quoted, "\047"); kernel = quoted[2]; target = quoted[4]
    next
  }
  /bytes stack frame/ { stack = $1; spill = $5 + $9; next }
  /Used [0-9]+ registers/ {
    match($0, /Used [0-9]+/); registers = substr($0, RSTART + 5, RLENGTH - 5)
    shared = 0
    if (match($0, /[0-9]+ bytes smem/)) shared = substr($0, RSTART) + 0
    print kernel "," target "," registers "," stack "," spill "," shared
  }' "${reports[@]}" | c++filt -p | sed -E 's/^void //; s/jindou:://g; s/^prim::entry<(.*[^ ]) ?>(\(.*\))?(,sm_)/\1\3/' | sort -u)

if [ "$mode" = print ]; then
  echo "kernel,target,registers,stack,spill,shared"
  echo "$measured"
  exit 0
fi

awk -v measured="$measured" '
  # A kernel name may hold commas: the last five fields are numbers and target, the rest is the name.
  function parse(line,    n, f, i) {
    n = split(line, f, ",")
    key = f[1]
    for (i = 2; i <= n - 4; i++) key = key "," f[i]
    registers = f[n - 3]; stack = f[n - 2]; spill = f[n - 1]; shared = f[n]
  }
  BEGIN {
    count = split(measured, lines, "\n")
    for (i = 1; i <= count; i++) { parse(lines[i]); R[key] = registers; K[key] = stack; P[key] = spill; S[key] = shared }
  }
  FNR == 1 { next }
  {
    parse($0); rows[key] = 1
    if (!(key in R)) { print "budgets: in the table but not built: " key; bad = 1; next }
    if (R[key] > registers) { print "budgets: " key ": " R[key] " registers, budget " registers; bad = 1 }
    if (K[key] > stack) { print "budgets: " key ": " K[key] " bytes of stack, budget " stack; bad = 1 }
    if (P[key] > spill) { print "budgets: " key ": " P[key] " bytes spilled, budget " spill; bad = 1 }
    if (S[key] > shared) { print "budgets: " key ": " S[key] " bytes of static shared memory, budget " shared; bad = 1 }
  }
  END {
    for (key in R) if (!(key in rows)) { print "budgets: no row for " key; bad = 1 }
    if (!bad) print count " kernels within their budgets"
    exit bad
  }' "$here/budgets.csv"
