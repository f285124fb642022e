#!/usr/bin/env bash
# Regenerates the bindings from the C headers: bindings/generate.sh <jextract>
#
# The same headers and jextract give the same bytes: only symbols of our own headers are taken (--include-*), in the order of
# their names, and nothing in the output tells where it was made. HEADERS.sha256 records the headers that were read, so that
# a test can tell, without jextract, that the bindings are up to date.
#
# jextract: https://github.com/openjdk/jextract at 0b89a46, the last revision whose output compiles with --release 22 (later ones
# call methods that JDK 23 added), with the fix of its indexed accessors of array fields, which is younger:
#   git checkout 0b89a46 && git cherry-pick -X theirs 91fc954
set -euo pipefail
jextract=$(readlink -f "${1:?usage: bindings/generate.sh <jextract>}")
cd "$(dirname "$0")/.."
export LC_ALL=C
java=${JAVA_HOME:?set JAVA_HOME to a JDK 22 or newer}/bin/java
headers=native/include
umbrella=$headers/jindou/jindou.h
sources=bindings/src/main/java
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

"$jextract" -I "$headers" --output "$scratch/unfiltered" --dump-includes "$scratch/dump.txt" "$umbrella"
grep "$headers/jindou/" "$scratch/dump.txt" | awk '$1 ~ /^--include/ && $2 ~ /^(jd_|JD_)/ { print $1, $2 }' \
  | grep -v ' JD_API$' | sort -u > "$scratch/includes.txt"
test -s "$scratch/includes.txt" || { echo "generate.sh: jextract found no symbol of ours in $umbrella" >&2; exit 1; }

"$jextract" -I "$headers" --output "$scratch/java" --target-package io.jindou.bindings --header-class-name JindouAbi \
  "@$scratch/includes.txt" "$umbrella"

rm -rf "$sources/io/jindou/bindings"
mkdir -p "$sources/io/jindou"
cp -r "$scratch/java/io/jindou/bindings" "$sources/io/jindou/bindings"
"$java" bindings/src/test/java/io/jindou/bindings/HeaderDigest.java "$headers/jindou" > bindings/HEADERS.sha256
echo "bindings: $(grep -c -- --include-function "$scratch/includes.txt") functions," \
  "$(grep -c -- --include-struct "$scratch/includes.txt") structs, $(grep -c -- --include-constant "$scratch/includes.txt") constants"
