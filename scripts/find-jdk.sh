#!/usr/bin/env bash
# Prints the home of a JDK 22 or newer: JAVA_HOME if it is one, else the newest found in the usual places, else nothing (exit 1).
set -u

major() { # home -> major version, empty when it is no JDK
  [ -x "$1/bin/javac" ] || return 0
  "$1/bin/javac" -version 2>&1 | sed -n 's/^javac \([0-9]*\).*/\1/p'
}

if [ -n "${JAVA_HOME:-}" ]; then
  version=$(major "$JAVA_HOME")
  if [ -n "$version" ] && [ "$version" -ge 22 ]; then echo "$JAVA_HOME"; exit 0; fi
fi

best=0 home=
on_path=$(command -v javac 2>/dev/null) && on_path=$(dirname "$(dirname "$(readlink -f "$on_path")")")
for candidate in $on_path /usr/lib/jvm/* /opt/java/* /opt/jdk* /usr/local/openjdk-* "$HOME"/.sdkman/candidates/java/* "$HOME"/.jdks/*; do
  version=$(major "$candidate")
  [ -n "$version" ] && [ "$version" -ge 22 ] && [ "$version" -gt "$best" ] && best=$version home=$candidate
done
[ -n "$home" ] && echo "$home"
