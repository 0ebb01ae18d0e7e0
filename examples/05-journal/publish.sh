#!/bin/sh
# publish.sh KEY: keep it in the journal and publish it, with nothing but redis-cli.
set -eu
reply=$(redis-cli -u "${REDIS_URL:-redis://127.0.0.1:6379/0}" --no-auth-warning \
  EVAL "$(cat publish.lua)" 1 invalidator:journal cache:invalidate:users:profile "$1")
case $reply in
  [0-9]*-[0-9]*) echo "published $1:" $reply ;; # the entry's id, and the number of receivers
  *) echo "not published: $reply" >&2; exit 1 ;;
esac
