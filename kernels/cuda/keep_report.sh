#!/usr/bin/env bash
# Runs a compiler command and keeps what ptxas -v says about kernels beside the object (<object>.ptxas), so that the build stays
# quiet and the budget check has something to read. Warnings and errors are shown as usual.
object=
previous=
for argument in "$@"; do
  [ "$previous" = -o ] && object=$argument
  previous=$argument
done
case $object in
  *.o) ;;
  *) exec "$@" ;;
esac
"$@" >"$object.ptxas" 2>&1
status=$?
grep -vE "^ptxas info|^    [0-9]+ bytes stack frame|^$" "$object.ptxas" >&2
exit $status
