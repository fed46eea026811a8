#!/usr/bin/env bash
# Lets people into a conversation that the gateway created: OpenClaw's own watcher hears nothing inside a Sprite, so
# its one-shot command is run again and again, until somebody was let in or the time is over.
#
#   joins.sh <conversation> <dev|production> <seconds> <interval>
#
# Returns at once; a session of its own goes on, and .clawpool/joins.json says how far it is. To start it again while
# it runs, or after somebody was let in, changes nothing. Bash 3.2 will do.
set -u
umask 022

SPRITE_HOME=${SPRITE_HOME:-/home/sprite}
SPRITE_ROOT=${SPRITE_ROOT:-}
DIR=$SPRITE_HOME/.clawpool
CLI=$SPRITE_ROOT/openclaw/extensions/convos/node_modules/@convos/cli/bin/run.js
TRY_SECONDS=10
export HOME=$SPRITE_HOME LC_ALL=C NO_COLOR=1
export PATH="$SPRITE_ROOT/usr/local/bin:$PATH:/.sprite/bin"

die() {
  echo "joins.sh: $*" >&2
  exit 2
}

[ $# -ge 4 ] || die 'usage: joins.sh <conversation> <dev|production> <seconds> <interval>'
CONVERSATION=$1 XMTP_ENV=$2 FOR_SECONDS=$3 INTERVAL=$4
case $CONVERSATION in '' | -* | *[!A-Za-z0-9-]*) die 'the conversation is not an id' ;; esac
case $XMTP_ENV in dev | production) ;; *) die 'the environment is dev or production' ;; esac
for number in "$FOR_SECONDS" "$INTERVAL"; do
  case $number in '' | *[!0-9]* | ??????*) die 'times are whole seconds' ;; esac
done
if [ "$FOR_SECONDS" -gt 3600 ] || [ "$INTERVAL" -lt 1 ]; then die 'at most 3600 seconds, at least 1 apart'; fi

BEAT=0 PROCESSED=0 APPROVED=false

# $1: done. Only what was checked above goes in, so nothing needs to be escaped.
write_status() {
  BEAT=$((BEAT + 1))
  printf '{"conversation":"%s","processed":%d,"approved":%s,"beat":%d,"done":%s}\n' \
    "$CONVERSATION" "$PROCESSED" "$APPROVED" "$BEAT" "$1" >"$DIR/joins.json.new" && mv -f "$DIR/joins.json.new" "$DIR/joins.json"
}

within_a_try() {
  if command -v timeout >/dev/null 2>&1; then
    timeout -k 2 "$TRY_SECONDS" "$@"
  else
    perl -e 'alarm shift; exec @ARGV' "$TRY_SECONDS" "$@" # macOS has no timeout
  fi
}

# How many requests were answered. Its JSON comes last on stdout, after whatever the libraries print.
process_requests() {
  within_a_try node "$CLI" conversations process-join-requests --conversation "$CONVERSATION" --env "$XMTP_ENV" --json \
    </dev/null 2>/dev/null 9>&- |
    sed -n 's/.*"processed"[[:space:]]*:[[:space:]]*\([0-9][0-9]*\).*/\1/p' | tail -n 1
}

launch() {
  exec 9>>"$DIR/joins.lock" || exit 1 # the loop inherits it
  flock -n 9 || exit 0
  if grep -q "\"conversation\":\"$CONVERSATION\".*\"approved\":true" "$DIR/joins.json" 2>/dev/null; then exit 0; fi
  write_status false || exit 1
  setsid bash "$0" "$CONVERSATION" "$XMTP_ENV" "$FOR_SECONDS" "$INTERVAL" run </dev/null >/dev/null 2>&1 &
  local n=0
  until ! grep -q '"beat":1,' "$DIR/joins.json" || [ $n -ge 100 ]; do # until it is in its own session, our end is its end
    n=$((n + 1))
    sleep 0.05
  done
}

run() {
  local found
  BEAT=1 SECONDS=0
  while :; do
    write_status false
    found=$(process_requests)
    PROCESSED=$((PROCESSED + ${found:-0}))
    if [ "$PROCESSED" -gt 0 ]; then APPROVED=true; fi
    if [ $APPROVED = true ] || [ $((SECONDS + INTERVAL)) -gt "$FOR_SECONDS" ]; then break; fi
    sleep "$INTERVAL" 9>&-
  done
  write_status true
}

case ${5:-} in
  '') launch ;;
  run) run ;;
  *) die "unknown argument: $5" ;;
esac
