# The front door. `make demo` ranks real users; `make test` runs every check that needs no GPU.
#
#   make demo [EVENTS=<file>] [DEVICE=cpu|cuda|simt] [STORE=tiered:<dir>]   the main job
#   make test                                          C++, emulator, Java, ABI and kernel budget tests
#   make embed-log EVENTS=<file> OUT=<file> [WORKERS=n] embed a whole event log on a local Apache Flink cluster
#   make bench [BENCH=<regex>] [JMH="<options>"]       JMH benchmarks -> bench/results/
#   make parity CASE=<folder> [DEVICE=cpu|cuda|simt] [STORE=tiered:<dir>]   compare with another implementation's results
#   make bindings JEXTRACT=<path>                      regenerate the Panama bindings
#   make operator-table                                write what works into docs/operators.md
#   make javadoc                                       API documentation, warnings are errors
#   make gpu-bundle, make gpu-run OUT=<dir>            everything for a GPU machine without Maven, JDK or network
#   make native | cuda | java | clean                  the parts
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup setup-test native cuda java demo embed-log test test-native test-sanitized test-java bench parity bindings operator-table javadoc gpu-bundle gpu-run clean

BUILD := build
JOBS ?= $(shell nproc)
NVCC ?= $(shell command -v nvcc 2>/dev/null || ls /usr/local/cuda/bin/nvcc 2>/dev/null)
# The demo needs CUDA kernels only where a driver can run them.
DRIVER := $(shell ldconfig -p 2>/dev/null | grep -q 'libcuda\.so\.1' && echo yes)
export JAVA_HOME := $(shell scripts/find-jdk.sh)
JAVA := $(JAVA_HOME)/bin/java
MVN := mvn -q -B -ntp
JAVA_FLAGS := --enable-native-access=ALL-UNNAMED -Djindou.library.path=$(BUILD)/native/lib

help:
	@sed -n 's/^#   \(make .*\)/\1/p' Makefile

setup:
	@scripts/setup.sh build
setup-test:
	@scripts/setup.sh test

# Libraries without CUDA: libjindou.so (with the CPU backend) and libjindou_simt.so.
native: setup
	@cmake -S . -B $(BUILD)/native -G Ninja -DCMAKE_BUILD_TYPE=Release -DBUILD_TESTING=OFF -DJINDOU_CUDA=OFF --log-level=NOTICE
	@cmake --build $(BUILD)/native -j $(JOBS)

# The same and, where nvcc is found, libjindou_cuda.so for every supported GPU.
cuda: setup
	@cmake -S . -B $(BUILD)/native -G Ninja -DCMAKE_BUILD_TYPE=Release -DBUILD_TESTING=OFF -DJINDOU_CUDA=AUTO \
	  -UJINDOU_CUDA_ARCHITECTURES --log-level=NOTICE
	@cmake --build $(BUILD)/native -j $(JOBS)

java: native
	@$(MVN) -DskipTests package

# -- the main job ------------------------------------------------------------------------------------------------------
demo: $(if $(and $(NVCC),$(DRIVER)),cuda,native)
	@$(MVN) -DskipTests -pl examples -am package
	@$(JAVA) $(JAVA_FLAGS) -cp "$$(cat examples/target/dependencies.txt):examples/target/classes" io.jindou.examples.Demo \
	  $(if $(DEVICE),--device=$(DEVICE)) $(if $(EVENTS),--events=$(EVENTS)) $(if $(STORE),--embedding-store=$(STORE)) $(DEMO_FLAGS)

embed-log: native
	@test -n "$(EVENTS)" -a -n "$(OUT)" || { echo "usage: make embed-log EVENTS=<event log> OUT=<file.safetensors> [WORKERS=n]" >&2; exit 2; }
	@$(MVN) -DskipTests -pl examples/flink -am package
	@$(JAVA) $(JAVA_FLAGS) --add-opens=java.base/java.lang=ALL-UNNAMED -cp "$$(cat examples/flink/target/dependencies.txt):examples/flink/target/classes" \
	  io.jindou.examples.EventLogEmbedding "$(EVENTS)" "$(OUT)" $(WORKERS)

parity: native
	@test -n "$(CASE)" || { echo "usage: make parity CASE=<folder of a case, or of cases> [DEVICE=cpu|cuda|simt] [STORE=tiered:<dir>]" >&2; exit 2; }
	@$(MVN) -DskipTests -pl examples -am package
	@$(JAVA) $(JAVA_FLAGS) -cp "$$(cat examples/target/dependencies.txt):examples/target/classes" io.jindou.examples.Parity \
	  $(if $(DEVICE),--device=$(DEVICE)) $(if $(STORE),--embedding-store=$(STORE)) "$(CASE)"

# -- tests -------------------------------------------------------------------------------------------------------------
test: test-native test-sanitized test-java
	@echo "make test: all passed"

test-native: setup-test
	@cmake -S . -B $(BUILD)/native -G Ninja -DCMAKE_BUILD_TYPE=Release -DBUILD_TESTING=ON -DJINDOU_CUDA=AUTO \
	  -DJINDOU_CUDA_ARCHITECTURES=TESTED --log-level=NOTICE
	@cmake --build $(BUILD)/native -j $(JOBS)
	@ctest --test-dir $(BUILD)/native -j $(JOBS) --output-on-failure --timeout 600

test-sanitized: setup-test
	@cmake -S . -B $(BUILD)/sanitized -G Ninja -DCMAKE_BUILD_TYPE=RelWithDebInfo -DBUILD_TESTING=ON -DJINDOU_CUDA=OFF -DJINDOU_SANITIZE=ON --log-level=NOTICE
	@cmake --build $(BUILD)/sanitized -j $(JOBS)
	@ctest --test-dir $(BUILD)/sanitized -j $(JOBS) --output-on-failure --timeout 900

test-java: test-native
	@mvn -B -ntp verify

# -- measurements ------------------------------------------------------------------------------------------------------
bench: $(if $(and $(NVCC),$(DRIVER)),cuda,native)
	@$(MVN) -DskipTests package
	@bench/run.sh "$(BENCH)" $(JMH)

gpu-bundle: cuda
	@$(MVN) -DskipTests package
	@scripts/gpu/bundle.sh

gpu-run:
	@test -n "$(OUT)" || { echo "usage: make gpu-run OUT=<directory for the report>" >&2; exit 2; }
	@scripts/gpu/run.sh "$(OUT)"

# -- generated and documentation ---------------------------------------------------------------------------------------
bindings:
	@test -n "$(JEXTRACT)" || { echo "usage: make bindings JEXTRACT=<path of jextract>" >&2; exit 2; }
	@bindings/generate.sh "$(JEXTRACT)"

operator-table: setup-test
	@cmake -S . -B $(BUILD)/native -G Ninja -DCMAKE_BUILD_TYPE=Release -DBUILD_TESTING=ON --log-level=NOTICE
	@cmake --build $(BUILD)/native -j $(JOBS) --target operator_table
	@$(BUILD)/native/bin/operator_table write docs/operators.md

javadoc: native
	@$(MVN) -DskipTests -pl java-store -am package javadoc:javadoc

clean:
	@rm -rf $(BUILD) gpu-bundle gpu-out */target
