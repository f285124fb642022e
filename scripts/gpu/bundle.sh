#!/usr/bin/env bash
# Prepares gpu-bundle/: what `make gpu-run` needs on a machine with an NVIDIA GPU and nvcc, but without Maven, a JDK or a network.
# Expects the Maven modules to be packaged (`make gpu-bundle` sees to it). The sources travel with the repository itself.
#
#   gpu-bundle/jars/        class path of benchmarks, tests and examples (without the peers' natives)
#   gpu-bundle/tests/       compiled JUnit tests of the Java API and the examples
#   gpu-bundle/jre.tar.xz   a run time made by jlink
#   gpu-bundle/googletest/  GoogleTest's sources
set -eu
cd "$(dirname "$0")/../.."
limit_mib=60
bundle=gpu-bundle
rm -rf "$bundle"
mkdir -p "$bundle/jars" "$bundle/tests"

modules=(bindings java-api bench examples)
for module in "${modules[@]}"; do
  for jar in "$module"/target/*.jar; do
    case $jar in
      *-linux-x86_64.jar | *-javadoc.jar | *-sources.jar) ;; # the natives are built there, for the GPU that is there
      *) cp "$jar" "$bundle/jars/" ;;
    esac
  done
done
# Third-party jars of the benchmarks and examples, without natives: the GPU run measures Jindou.
tr ':' '\n' < <(cat bench/target/dependencies.txt; echo; cat examples/target/dependencies.txt) | sort -u |
  grep '\.jar$' | grep -vE '/io/jindou/|/target/|linux-x86_64|pytorch-native|onnxruntime' |
  while read -r jar; do cp "$jar" "$bundle/jars/"; done

# JUnit's console launcher and JCuda's natives come from the local repository or Maven Central.
fetch() { # group:artifact:version[:packaging:classifier]
  mvn -q -B -ntp dependency:copy -Dartifact="$1" -DoutputDirectory="$PWD/$bundle/jars" -f bench/pom.xml
}
junit=$(sed -n 's:.*<junit.version>5\.\(.*\)</junit.version>.*:1.\1:p' pom.xml)
jcuda=$(sed -n 's:.*<jcuda.version>\(.*\)</jcuda.version>.*:\1:p' bench/pom.xml)
fetch "org.junit.platform:junit-platform-console-standalone:$junit"
fetch "org.jcuda:jcuda-natives:$jcuda:jar:linux-x86_64"

for module in java-api examples; do
  mkdir -p "$bundle/tests/$module"
  cp -r "$module/target/test-classes" "$bundle/tests/$module/"
done

jre=$(mktemp -d)
"$JAVA_HOME/bin/jlink" --output "$jre/jre" --strip-debug --no-header-files --no-man-pages --compress=zip-0 --add-modules \
  java.base,java.compiler,java.logging,java.management,java.sql,java.xml,jdk.management,jdk.unsupported
tar -C "$jre" -cJf "$bundle/jre.tar.xz" jre
rm -rf "$jre"

for sources in /usr/src/googletest /usr/src/gtest; do
  if [ -d "$sources/googletest" ]; then
    mkdir -p "$bundle/googletest"
    (cd "$sources" && tar -cf - --exclude=test --exclude=samples --exclude=docs .) | tar -C "$bundle/googletest" -xf -
    break
  fi
done

size=$(du -sm "$bundle" | cut -f1)
echo "gpu-bundle: $size MiB"
if [ "$size" -ge "$limit_mib" ]; then
  echo "gpu-bundle: larger than $limit_mib MiB" >&2
  exit 1
fi
