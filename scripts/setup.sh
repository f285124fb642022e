#!/usr/bin/env bash
# Makes sure that what the build needs is installed. As root on Debian or Ubuntu it installs what is missing;
# otherwise it names it and exits 1. Usage: setup.sh [build|test]
set -u
cd "$(dirname "$0")/.."
goal=${1:-build}
missing=() packages=()

need() { # what to show, package, test command...
  local what=$1 package=$2
  shift 2
  "$@" >/dev/null 2>&1 && return
  missing+=("$what")
  packages+=("$package")
}

header() { echo "#include <$1>" | g++ -std=c++17 -x c++ -fsyntax-only -; }

need "a C++17 compiler (g++)" g++ command -v g++
need "a C compiler (gcc)" gcc command -v gcc
need "CMake 3.22+" cmake command -v cmake
need "Ninja" ninja-build command -v ninja
need "Maven 3.6+" maven command -v mvn
need "Boost.Context (headers and library)" libboost-context-dev header boost/context/fiber.hpp
if [ "$goal" = test ]; then
  need "GoogleTest" libgtest-dev header gtest/gtest.h
  case $(uname -m) in
    x86_64) need "SIMDe (runs the AVX-512 kernels in tests on any CPU)" libsimde-dev header simde/x86/avx512.h ;;
  esac
fi

if [ ${#packages[@]} -gt 0 ]; then
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    echo "Installing: ${packages[*]}"
    apt-get update -qq >/dev/null 2>&1
    if ! DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}" >/tmp/jindou-setup.log 2>&1; then
      tail -5 /tmp/jindou-setup.log >&2
      echo "Could not install: ${packages[*]} (log: /tmp/jindou-setup.log)" >&2
      exit 1
    fi
  else
    printf 'Missing: %s\n' "${missing[@]}" >&2
    echo "On Debian or Ubuntu: sudo apt-get install ${packages[*]}" >&2
    exit 1
  fi
fi

if ! scripts/find-jdk.sh >/dev/null; then
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    apt-get update -qq >/dev/null 2>&1
    for version in 25 24 23 22; do
      DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends openjdk-$version-jdk-headless >/dev/null 2>&1 && break
    done
  fi
  if ! scripts/find-jdk.sh >/dev/null; then
    echo "Missing: a JDK 22 or newer. Install one (for example https://adoptium.net, or openjdk-25-jdk where your distribution has it)" >&2
    echo "and set JAVA_HOME to it; looked at JAVA_HOME, PATH, /usr/lib/jvm, /opt, ~/.sdkman and ~/.jdks." >&2
    exit 1
  fi
fi
