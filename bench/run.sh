#!/usr/bin/env bash
# Runs JMH benchmarks and writes bench/results/<time>.json. Usage: run.sh [regex] [JMH options...]
# Expects the natives in build/native/lib and JAVA_HOME to be a JDK 22+ (`make bench` sees to both).
set -eu
cd "$(dirname "$0")/.."
regex=${1:-}
[ $# -gt 0 ] && shift

cmake -S bench/native -B build/bench -G Ninja -DCMAKE_BUILD_TYPE=Release --log-level=WARNING >/dev/null
cmake --build build/bench >/dev/null
mvn -q -B -ntp -DskipTests -Ppeers -pl bench -am package

exclude=()
ldconfig -p 2>/dev/null | grep -q 'libcuda\.so\.1' || exclude=(-e CudaCall)
mkdir -p bench/results
result=bench/results/$(date -u +%Y%m%d-%H%M%S).json
"$JAVA_HOME/bin/java" -cp "$(cat bench/target/dependencies.txt):bench/target/classes" org.openjdk.jmh.Main \
  "${regex:-.*}" "${exclude[@]}" -rf json -rff "$result" -foe true \
  -jvmArgs "--enable-native-access=ALL-UNNAMED -Djindou.library.path=build/native/lib -Xmx4g" "$@"
echo "Results: $result"
