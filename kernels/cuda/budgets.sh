#!/usr/bin/env bash
# The resources of every kernel on every target, and their limits: budgets.csv.
#
#   budgets.sh check  <ptxas> <nvcc version> <kernel list> <object>...   fails when a kernel uses more than its row, has no row, or is gone
#   budgets.sh update <ptxas> <nvcc version> <kernel list> <object>...   writes budgets.csv as measured, after a deliberate change
#
# Measured by ptxas, which compiles the PTX beside each object (kept by keep_ptx.sh) for every target; dynamic shared memory is what
# the kernels declare (the program cuda_kernels lists it). The table also has the hashes of the PTX it was measured from: of what is
# still the same, the same ptxas makes the same, and it is not compiled again. Registers count in eights, as the hardware hands them
# out. Whatever the table says, a kernel must fit the shared memory of its target. Another release of nvcc allocates otherwise: then
# the check is skipped (exit status 77).
set -eu
mode=$1 ptxas=$2 version=$(echo "$3" | cut -d. -f1,2) list=$4
shift 4
table=$(cd "$(dirname "$0")" && pwd)/budgets.csv
columns="kernel,target,registers,stack,spill_stores,spill_loads,static_shared,dynamic_shared"

known=$(sed -n '1s/^# nvcc //p' "$table")
if [ "$mode" = check ] && [ "$known" != "$version" ]; then
  echo "budgets: the table was measured with nvcc $known, this is $version: not comparable (the target cuda_budgets_update measures anew)"
  exit 77
fi

# Machine code for 8.6 would be that for 8.9.
targets_of() { case $1 in *.compute_80.ptx) echo sm_80 sm_89 sm_100 sm_120 ;; *.compute_90a.ptx) echo sm_90a ;; esac }

hashes=() same=() reports=() jobs=()
for object in "$@"; do
  case $object in *.o) ;; *) continue ;; esac
  for ptx in "$object.compute_80.ptx" "$object.compute_90a.ptx"; do
    [ -f "$ptx" ] || { echo "budgets: $ptx is not there: build it again, for both" >&2; exit 1; }
    hash="# $(basename "$ptx") $(sha256sum <"$ptx" | cut -d' ' -f1)"
    hashes+=("$hash")
    if [ "$known" = "$version" ] && grep -qxF "$hash" "$table"; then
      same+=("$ptx")
      continue
    fi
    for target in $(targets_of "$ptx"); do
      report=$ptx.$target.report
      [ "$report" -nt "$ptx" ] || jobs+=("$ptx" "$target" "$report")
      reports+=("$report")
    done
  done
done
if [ ${#jobs[@]} -gt 0 ]; then
  echo "budgets: $((${#jobs[@]} / 3)) runs of ptxas, for PTX that the table was not measured from"
  printf '%s\0' "${jobs[@]}" | xargs -0 -n 3 -P "$(nproc)" sh -c '
    "$0" -v -m64 -arch="$2" "$1" -o /dev/null >"$3.part" 2>&1 || { cat "$3.part"; exit 1; }
    mv "$3.part" "$3"' "$ptxas"
fi

short() { sed -E 's/jindou:://g; s/[(](int|bool|unsigned int)[)]//g; s/ +>/>/g; s/, /,/g'; }
dynamic=$("$list" | c++filt -t | short)
# kernel|target,registers,... of a report; kernel|target of PTX that is the same, with the table's figures.
measured=$({
  awk '
    /Compiling entry function/ { split($0, quoted, "\047"); kernel = quoted[2]; target = quoted[4]; next }
    /bytes stack frame/ { stack = $1; stores = $5; loads = $9; next }
    /Used [0-9]+ registers/ {
      match($0, /Used [0-9]+/); registers = substr($0, RSTART + 5, RLENGTH - 5)
      shared = 0
      if (match($0, /[0-9]+ bytes smem/)) shared = substr($0, RSTART) + 0
      print kernel "|" target "," registers "," stack "," stores "," loads "," shared
    }' /dev/null ${reports[@]+"${reports[@]}"}
  for ptx in ${same[@]+"${same[@]}"}; do
    for target in $(targets_of "$ptx"); do sed -nE "s/^.*\.entry ([A-Za-z0-9_]+)\(.*/\1|$target/p" "$ptx"; done
  done
} | c++filt -p | short | sed -E 's/^void //; s/^prim::entry<(.*)>(\(.*\))?\|/\1|/' | sort -u |
  awk -v dynamic="$dynamic" -v table="$table" '
    BEGIN {
      count = split(dynamic, lines, "\n")
      for (i = 1; i <= count; i++) { at = match(lines[i], /,[0-9]+$/); D[substr(lines[i], 1, at - 1)] = substr(lines[i], at + 1) }
      while ((getline line < table) > 0) {
        if (match(line, /",sm_[0-9a-z]+,/) == 0) continue
        key = substr(line, 1, RSTART + RLENGTH - 2)
        figures = substr(line, RSTART + RLENGTH)
        sub(/,[^,]*$/, "", figures)
        T[key] = figures
      }
    }
    /^[A-Za-z:]*Hopper/ && !/\|sm_90a/ { next }  # kernels of sm_90a alone compile to nothing elsewhere
    { at = index($0, "|"); kernel = substr($0, 1, at - 1); key = "\"" kernel "\"," substr($0, at + 1)
      if (!index(substr($0, at + 1), ",")) key = key "," (key in T ? T[key] : "0,0,0,0,0")
      print key "," (kernel in D ? D[kernel] : "?") }' | sort -u)

if [ "$mode" = update ]; then
  { echo "# nvcc $version"; printf '%s\n' "${hashes[@]}"; echo "$columns"; echo "$measured"; } >"$table"
  echo "budgets: $(echo "$measured" | wc -l) rows written to $table"
  exit 0
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
