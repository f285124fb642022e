#!/usr/bin/env bash
# The resources of every kernel on every target, and their limits: budgets.csv.
#
#   budgets.sh check  <nvcc version> <kernel list> <object>...   fails when a kernel uses more than its row, has no row, or is gone
#   budgets.sh update <nvcc version> <kernel list> <object>...   writes budgets.csv as measured, after a deliberate change
#
# Measured by ptxas (the reports <object>.ptxas, kept by keep_report.sh); dynamic shared memory is what the kernels declare (the
# program cuda_kernels lists it). Registers count in eights, as the hardware hands them out. Whatever the table says, a kernel
# must fit the shared memory of its target. Another release of nvcc allocates otherwise: then the check is skipped (exit status 77).
set -eu
mode=$1 version=$(echo "$2" | cut -d. -f1,2) list=$3
shift 3
table=$(cd "$(dirname "$0")" && pwd)/budgets.csv
columns="kernel,target,registers,stack,spill_stores,spill_loads,static_shared,dynamic_shared"

reports=()
for object in "$@"; do
  case $object in *.o) [ -f "$object.ptxas" ] || { echo "budgets: no report beside $object: build it again" >&2; exit 1; }
    reports+=("$object.ptxas") ;;
  esac
done
short() { sed -E 's/jindou:://g; s/[(](int|bool|unsigned int)[)]//g; s/ +>/>/g; s/, /,/g'; }

dynamic=$("$list" | c++filt -t | short)
measured=$(awk '
  /Compiling entry function/ { split($0, quoted, "\047"); kernel = quoted[2]; target = quoted[4]; next }
  /bytes stack frame/ { stack = $1; stores = $5; loads = $9; next }
  /Used [0-9]+ registers/ {
    match($0, /Used [0-9]+/); registers = substr($0, RSTART + 5, RLENGTH - 5)
    shared = 0
    if (match($0, /[0-9]+ bytes smem/)) shared = substr($0, RSTART) + 0
    print kernel "|" target "," registers "," stack "," stores "," loads "," shared
  }' "${reports[@]}" | c++filt -p | short | sed -E 's/^void //; s/^prim::entry<(.*)>(\(.*\))?\|/\1|/' | sort -u |
  awk -v dynamic="$dynamic" '
    BEGIN {
      count = split(dynamic, lines, "\n")
      for (i = 1; i <= count; i++) { at = match(lines[i], /,[0-9]+$/); D[substr(lines[i], 1, at - 1)] = substr(lines[i], at + 1) }
    }
    /\|sm_86,/ { next }  # its rows would be those of sm_89
    /^[A-Za-z:]*Hopper/ && !/\|sm_90a,/ { next }  # kernels of sm_90a alone compile to nothing elsewhere
    { at = index($0, "|"); kernel = substr($0, 1, at - 1)
      print "\"" kernel "\"," substr($0, at + 1) "," (kernel in D ? D[kernel] : "?") }')

if [ "$mode" = update ]; then
  { echo "# nvcc $version"; echo "$columns"; echo "$measured"; } >"$table"
  echo "budgets: $(echo "$measured" | wc -l) rows written to $table"
  exit 0
fi

known=$(sed -n '1s/^# nvcc //p' "$table")
if [ "$known" != "$version" ]; then
  echo "budgets: the table was measured with nvcc $known, this is $version: not comparable (the target cuda_budgets_update measures anew)"
  exit 77
fi
echo "$measured" | awk -v table="$table" '
  function eights(n) { return int((n + 7) / 8) * 8 }
  function over(name, used, budget) {
    if (used + 0 > budget + 0) { print "budgets: " key ": " used " " name ", budget " budget; bad = 1 }
  }
  # Shared memory a block can have, in bytes.
  function most(target) {
    if (target == "sm_80") return 163 * 1024
    if (target == "sm_89" || target ~ /^sm_12/) return 99 * 1024
    return 227 * 1024
  }
  # "kernel",target,numbers...: the name may hold commas.
  function parse(line,    end) {
    end = index(substr(line, 2), "\"") + 1
    split(substr(line, end + 2), F, ",")
    key = substr(line, 2, end - 2) " " F[1]
  }
  BEGIN {
    while ((getline line < table) > 0) {
      if (line !~ /^"/) continue
      parse(line)
      for (i = 2; i <= 7; i++) B[key, i] = F[i]
      rows[key] = 1
    }
  }
  {
    parse($0); seen[key] = 1; count++
    if (F[7] == "?") { print "budgets: " key ": not in the list of kernels"; bad = 1 }
    if (F[6] + F[7] > most(F[1])) { print "budgets: " key ": " F[6] + F[7] " bytes of shared memory, the target has " most(F[1]); bad = 1 }
    if (F[4] + F[5] > 0) { print "budgets: " key ": spills registers, " F[4] " bytes out and " F[5] " back"; bad = 1 }
    if (!(key in rows)) { print "budgets: no row for " key; bad = 1; next }
    over("registers", eights(F[2]), eights(B[key, 2])); over("bytes of stack", F[3], B[key, 3])
    over("bytes of spill stores", F[4], B[key, 4]); over("bytes of spill loads", F[5], B[key, 5])
    over("bytes of static shared memory", F[6], B[key, 6]); over("bytes of dynamic shared memory", F[7], B[key, 7])
  }
  END {
    for (key in rows) if (!(key in seen)) { print "budgets: in the table but not built: " key; bad = 1 }
    if (!bad) print "budgets: " count " kernels and targets within their budgets"
    exit bad
  }'
