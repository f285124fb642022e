#!/usr/bin/env bash
# Runs a compiler command and keeps the PTX it makes beside the object (<object>.compute_80.ptx...): the budget check reads it.
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
rm -rf "$object.keep" "$object".*.ptx
mkdir "$object.keep"
"$@" --keep --keep-dir "$object.keep"
status=$?
for ptx in "$object.keep"/*.ptx; do
  case $ptx in *.compute_*) mv "$ptx" "$object.compute_${ptx##*.compute_}" ;; esac
done
rm -rf "$object.keep"
exit $status
