#!/usr/bin/env bash
# Builds for the GPU at hand, checks every kernel on it, measures, and writes <out>/report.json, within 9 minutes.
#
#   run.sh <out>        needs an NVIDIA GPU, nvcc, CMake, a C++ compiler and gpu-bundle/ (see bundle.sh)
#
# Exit status: 0 all checks passed; 1 a check failed; 2 the bundle or a tool is missing; 3 no GPU here.
# JINDOU_GPU_REHEARSAL=<device> goes through the same stages on cpu or simt with natives already in build/native/lib, to prove the
# script itself; its report says so and holds no GPU figure.
set -u
cd "$(dirname "$0")/../.."
out=$1
rehearsal=${JINDOU_GPU_REHEARSAL:-}
device=${rehearsal:-cuda}
limit=540
began=$SECONDS
left() { echo $((limit - SECONDS + began)); }

if [ -z "$rehearsal" ] && ! { command -v nvidia-smi >/dev/null 2>&1 && nvidia-smi -L 2>/dev/null | grep -q GPU; }; then
  echo "gpu-run: no NVIDIA GPU on this machine (nvidia-smi finds none)" >&2
  exit 3
fi
[ -d gpu-bundle/jars ] || { echo "gpu-run: gpu-bundle/ is missing; run 'make gpu-bundle' where there is a JDK and Maven" >&2; exit 2; }
nvcc=$(command -v nvcc || ls /usr/local/cuda/bin/nvcc 2>/dev/null)
mkdir -p "$out"
out=$(cd "$out" && pwd)
work=$PWD/build/gpu
logs=$work/logs
rm -rf "$logs"
mkdir -p "$logs"

query() { [ -n "$rehearsal" ] && return; nvidia-smi --query-gpu="$1" --format=csv,noheader,nounits 2>/dev/null | head -1; }
text() { printf '"%s"' "$(printf '%s' "$1" | tr -d '"\\\n')"; }

# Clocks under load, not those of the idle card after it: sampled twice a second into a file.
clocks=$work/clocks.csv
: >"$clocks"
if [ -z "$rehearsal" ]; then
  nvidia-smi --query-gpu=clocks.sm,clocks.mem --format=csv,noheader,nounits -lms 500 >"$clocks" 2>/dev/null &
  sampler=$!
  trap 'kill "$sampler" 2>/dev/null' EXIT
fi
highest() { awk -F', *' -v column="$1" '$column + 0 > most { most = $column + 0 } END { print most + 0 }' "$clocks"; }

# -- stages: each a log file, a status and a time in the report ---------------------------------------------------------
stages=()
failed=0
# stage <name> <seconds> <required 0|1> <command...>: runs within the time; a stage that is not required may be skipped for time.
stage() {
  local name=$1 seconds=$2 required=$3 status start
  shift 3
  local remaining
  remaining=$(left)
  if [ "$remaining" -lt 10 ] && [ "$required" = 0 ]; then
    stages+=("{\"name\": \"$name\", \"result\": \"skipped: no time left\"}")
    echo "-- $name: skipped, no time left"
    return
  fi
  [ "$remaining" -gt 10 ] && [ "$seconds" -gt "$remaining" ] && seconds=$remaining
  echo "-- $name"
  start=$SECONDS
  timeout "$seconds" "$@" >"$logs/$name.log" 2>&1
  status=$?
  local result=passed
  case $status in
    0) ;;
    77) result="skipped: $(tail -1 "$logs/$name.log")" ;;
    124) result="failed: over $seconds s" ;;
    *) result="failed: exit status $status" ;;
  esac
  case $result in failed*) failed=1; tail -25 "$logs/$name.log" ;; esac
  stages+=("{\"name\": \"$name\", \"result\": $(text "$result"), \"seconds\": $((SECONDS - start))}")
  echo "   $result ($((SECONDS - start)) s)"
}

build() {
  if [ -n "$rehearsal" ]; then
    cmake -S bench/native -B "$work/limits" -DCMAKE_BUILD_TYPE=Release && cmake --build "$work/limits"
    return
  fi
  local capability architecture
  capability=$(query compute_cap | tr -d .)
  architecture=$capability-real
  [ "$capability" = 90 ] && architecture=90a-real
  cmake -S gpu-bundle/googletest -B "$work/googletest" -DCMAKE_BUILD_TYPE=Release -DCMAKE_INSTALL_PREFIX="$work/gtest" -DBUILD_GMOCK=OFF &&
    cmake --build "$work/googletest" -j "$(nproc)" --target install &&
    cmake -S . -B "$work/native" -DCMAKE_BUILD_TYPE=Release -DCMAKE_PREFIX_PATH="$work/gtest" -DBUILD_TESTING=ON -DJINDOU_CUDA=ON \
      -DJINDOU_SIMT=OFF -DCMAKE_CUDA_COMPILER="$nvcc" -DJINDOU_CUDA_ARCHITECTURES="$architecture" &&
    cmake --build "$work/native" -j "$(nproc)" &&
    cmake -S bench/native -B "$work/limits" -DCMAKE_BUILD_TYPE=Release && cmake --build "$work/limits"
}

natives=$work/native/lib
programs=$work/native/bin
if [ -n "$rehearsal" ]; then
  natives=$PWD/build/native/lib
  programs=$PWD/build/native/bin
fi

calibrate() {
  local program=$programs/jindou_calibrate_cuda
  [ -n "$rehearsal" ] && program=$programs/jindou_calibrate_simt
  [ -x "$program" ] || { echo "calibration program not built"; [ -n "$rehearsal" ] && return 77 || return 1; }
  "$program"
}

cpp_tests() {
  local status=0 ran=0 test
  for test in "$programs"/operators_* "$programs"/devices_test "$programs"/cuda_*_test; do
    [ -x "$test" ] || continue
    echo "== $test"
    ran=1
    JINDOU_TEST_DEVICES=$device "$test" --gtest_brief=1 || status=1
  done
  [ $ran = 1 ] || { echo "no test programs in $programs"; [ -n "$rehearsal" ] && return 77 || return 1; }
  return $status
}

jre=$work/jre/bin/java
unpack() { tar -C "$work" -xJf gpu-bundle/jre.tar.xz && "$jre" -version; }
java() { # class path entries come first, then the arguments
  local classes=$1
  shift
  "$jre" --enable-native-access=ALL-UNNAMED -Djindou.library.path="$natives" \
    -Djindou.limits.library="$work/limits/libjindou_limits.so" -Djindou.test.devices="$device" \
    -cp "$classes:gpu-bundle/jars/*" "$@"
}
java_tests() { # module
  java "gpu-bundle/tests/$1/test-classes" org.junit.platform.console.ConsoleLauncher execute --disable-banner \
    --details=summary --scan-classpath="gpu-bundle/tests/$1/test-classes" --exclude-classname='.*(Bindings|Abi|Documentation|Readme|Natives).*'
}
java_api_tests() { java_tests java-api; }
example_tests() { (cd examples && bundle=../gpu-bundle && "$jre" --enable-native-access=ALL-UNNAMED -Djindou.library.path="$natives" \
  -cp "$bundle/tests/examples/test-classes:$bundle/jars/*" io.jindou.examples.Parity --device="$device" src/test/parity); }
demo() { java . io.jindou.examples.Demo --device="$device"; }

sanitize() {
  local tool
  tool=$(command -v compute-sanitizer || ls /usr/local/cuda/bin/compute-sanitizer 2>/dev/null) || { echo "compute-sanitizer not found"; return 77; }
  local status=0 check
  for check in memcheck racecheck; do
    echo "== $check"
    JINDOU_TEST_DEVICES=$device timeout 40 "$tool" --tool "$check" --error-exitcode 1 "$programs/cuda_operators_test" \
      --gtest_brief=1 --gtest_filter='*small*' || status=1
  done
  JINDOU_TEST_DEVICES=$device timeout 40 "$tool" --tool memcheck --error-exitcode 1 "$programs/devices_test" \
    --gtest_brief=1 --gtest_filter='*EmbeddingOnDevices*cuda' || status=1
  return $status
}

# jmh <seconds> <report> <regex> <options...>
jmh() {
  local seconds=$1 report=$2 which=$3
  shift 3
  timeout "$seconds" "$jre" -cp "gpu-bundle/jars/*" org.openjdk.jmh.Main "$which" "$@" \
    -p device="$device" -p threads=1 -f 1 -wi 2 -w 1 -i 4 -r 1 -rf json -rff "$out/$report" -foe false \
    -jvmArgs "--enable-native-access=ALL-UNNAMED -Djindou.library.path=$natives -Djindou.limits.library=$work/limits/libjindou_limits.so"
}
benchmarks() {
  jmh "$1" jmh.json '(Attention|EmbeddingBag)Benchmark\.jindou|DeviceCopy|CudaCall' -e StcaAttention \
    $([ -n "$rehearsal" ] && echo "-e CudaCall")
}
more_benchmarks() {
  jmh "$1" jmh-more.json '(HashLookup|HistorySearch|JaggedHstu|RqEncode|SequenceEmbedding|TopKInnerProduct)Benchmark\.jindou|CachedHstu|limitDenseRows'
}
stca_benchmark() { jmh "$1" jmh-stca.json 'StcaAttentionBenchmark\.jindou' -p candidates=300; }

run_stage() { stage "$1" "$2" "$3" bash -c "$(declare -f query text java java_tests jmh "$1"); $(declare -p out work natives programs device rehearsal jre nvcc | sed 's/^declare -[^ ]* //'); $1 ${4:-}"; }
run_stage unpack 60 1
run_stage build 240 1
run_stage calibrate 60 1
run_stage cpp_tests 120 1
run_stage java_api_tests 90 1
run_stage example_tests 60 1
run_stage demo 60 0
[ -z "$rehearsal" ] && run_stage sanitize 130 0
# At most two minutes each, as long as there is time. The emulator would take hours over them.
for benchmark in benchmarks more_benchmarks stca_benchmark; do
  remaining=$(left)
  [ "$remaining" -gt 120 ] && remaining=120
  [ "$rehearsal" = simt ] || run_stage $benchmark "$remaining" 0 "$((remaining > 15 ? remaining - 5 : 10))"
done

# -- report ----------------------------------------------------------------------------------------------------------------
{
  printf '{\n  "device": %s,\n' "$(text "${rehearsal:+rehearsal on $rehearsal}$(query name)")"
  printf '  "driver": %s,\n  "compute_capability": %s,\n' "$(text "$(query driver_version)")" "$(text "$(query compute_cap)")"
  printf '  "clocks_mhz": {"sm_highest": %s, "sm_limit": %s, "memory_highest": %s, "memory_limit": %s},\n' "$(highest 1)" \
    "$(text "$(query clocks.max.sm)")" "$(highest 2)" "$(text "$(query clocks.max.mem)")"
  printf '  "revision": %s,\n' "$(text "$(git rev-parse HEAD 2>/dev/null)")"
  printf '  "seconds": %d,\n  "passed": %s,\n' "$((SECONDS - began))" "$([ $failed = 0 ] && echo true || echo false)"
  printf '  "stages": [\n'
  for ((i = 0; i < ${#stages[@]}; i++)); do
    printf '    %s%s\n' "${stages[$i]}" "$([ $((i + 1)) -lt ${#stages[@]} ] && echo ,)"
  done
  printf '  ],\n  "demo": %s,\n' "$(grep -h '^{' "$logs/demo.log" 2>/dev/null | tail -1 | grep . || echo null)"
  results() { grep . "$out/$1" 2>/dev/null || echo '[]'; }
  printf '  "benchmarks": %s,\n  "more_benchmarks": %s,\n  "stca_benchmark": %s\n}\n' "$(results jmh.json)" "$(results jmh-more.json)" "$(results jmh-stca.json)"
} >"$out/report.json"
# One log: the report's reader gets three files.
for log in "$logs"/*.log; do printf '==== %s\n' "$(basename "$log" .log)"; cat "$log"; done >"$out/gpu-run.log"
echo "gpu-run: $([ $failed = 0 ] && echo 'all checks passed' || echo 'CHECKS FAILED'); report: $out/report.json ($((SECONDS - began)) s)"
exit $failed
