#!/usr/bin/env bash
# The `gateway` service of a Sprite: a service's command takes no arguments, so they stand here. The script becomes
# the gateway (exec), so that the service manager sees it end.
set -u

SPRITE_HOME=${SPRITE_HOME:-/home/sprite}
BIN=${SPRITE_ROOT:-}/usr/local/bin
export HOME=$SPRITE_HOME OPENCLAW_HIDE_BANNER=1
export PATH="$HOME/.bun/bin:$BIN:$PATH:/.sprite/bin"

cd "$HOME" || exit 1
# Both files are written from outside, readable to their owner only, and who that is nobody promises.
for file in "$HOME/.openclaw/openclaw.json" "$HOME/.openclaw/.env"; do
  if [ -e "$file" ] && [ ! -r "$file" ]; then sudo chown "$(id -u):$(id -g)" "$file"; fi
done
exec "$BIN/openclaw" gateway run --port 8080
