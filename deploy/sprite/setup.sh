#!/usr/bin/env bash
# Builds OpenClaw inside a Sprite. Runs on a Sprite as it is delivered and, by SPRITE_HOME and SPRITE_ROOT, in a
# folder of a laptop. Bash 3.2 will do: that is what macOS has.
#
#   setup.sh       the launcher: writes the first setup.json, starts the build in a session of its own, returns at once
#   setup.sh run   the build; nobody but the launcher calls it
#
# Whoever started it may go away: everything there is to know stands in .clawpool/setup.json, replaced by rename.
#   - `beat` grows at each phase and every 10 s within one: when it stands still, the build is dead.
#   - `exit` is null while it runs; then 0, or the code of the phase that failed with its last lines in `error`;
#     78 (EX_CONFIG of sysexits.h) where trying again cannot help: the repository has no such ref, or refuses us.
#   - `takes` names the fields of a claim's request that this OpenClaw reads; empty until the last phase.
# setup.env says what to build, and whose turn it is: a build ends itself when the file names another ATTEMPT.
# An attempt is built once. To start one that runs or has ended changes nothing, however late the call arrives:
# by then somebody may be talking to the gateway that runs from /openclaw.
# The launcher takes setup.lock and hands it on: the build and what it runs hold it by descriptor 9. While it is held,
# something of a build is alive, and setup.pid names the process group to end.
set -u
umask 022

SPRITE_HOME=${SPRITE_HOME:-/home/sprite}
SPRITE_ROOT=${SPRITE_ROOT:-}
DIR=$SPRITE_HOME/.clawpool
OPENCLAW=$SPRITE_ROOT/openclaw
BIN=$SPRITE_ROOT/usr/local/bin
SOCKET=$SPRITE_ROOT/.sprite/api.sock
BEAT_SECONDS=10
REFUSED=78 # EX_CONFIG of sysexits.h
HOLD_TICKS=6 # the task that keeps the Sprite awake lives for 5 minutes and is renewed each minute

# An exec's HOME, PATH and language are whatever its starter had. git gives up on a transfer that stalls for a minute.
export HOME=$SPRITE_HOME BUN_INSTALL=$SPRITE_HOME/.bun LC_ALL=C CI=1 NO_COLOR=1 npm_config_update_notifier=false
export GIT_TERMINAL_PROMPT=0 GIT_HTTP_LOW_SPEED_LIMIT=1000 GIT_HTTP_LOW_SPEED_TIME=60 DEBIAN_FRONTEND=noninteractive
export PATH="$BUN_INSTALL/bin:$BIN:$PATH:/.sprite/bin"
if [ -n "$SPRITE_ROOT" ]; then export npm_config_prefix=$SPRITE_ROOT/usr/local; fi # "global" is inside the folder

die() {
  echo "setup.sh: $*" >&2
  exit 2
}

have() { command -v "$1" >/dev/null 2>&1; }

as_root() {
  if [ "$(id -u)" = 0 ] || ! have sudo; then
    "$@"
  else
    sudo env "PATH=$PATH" "HOME=$HOME" DEBIAN_FRONTEND=noninteractive "$@"
  fi
}

# Writes outside the home: directly where that works, by sudo where it does not.
write_outside() { "$@" 2>/dev/null || as_root "$@"; }

# --- Where we are -----------------------------------------------------------------------------------------------

# Prints where a path really leads. Its last parts need not exist; a link that leads nowhere is refused.
resolve() {
  local path=$1 rest=''
  while [ ! -d "$path" ]; do
    [ ! -L "$path" ] || return 1
    rest=/$(basename "$path")$rest
    path=$(dirname "$path")
  done
  path=$(cd -P "$path" && pwd -P) || return 1
  printf '%s%s' "${path%/}" "$rest"
}

# With SPRITE_ROOT set this is somebody's laptop: nothing that we delete or write may lie outside that folder.
check_root() {
  local root path real
  [ -n "$SPRITE_ROOT" ] || return 0
  root=$(cd -P "$SPRITE_ROOT" 2>/dev/null && pwd -P) || die "SPRITE_ROOT is not a folder: $SPRITE_ROOT"
  [ "$root" != / ] || die 'SPRITE_ROOT leads to /'
  for path in "$OPENCLAW" "$BIN" "$DIR"; do
    real=$(resolve "$path") || die "$path leads nowhere"
    case $real in
      "$root"/*) ;;
      *) die "$path leads outside SPRITE_ROOT" ;;
    esac
  done
}

# Sets ATTEMPT, REPO, REF and COMMIT. The file is parsed and never sourced: a value is one word, not an option.
read_env() {
  local line value
  ATTEMPT='' REPO='' REF='' COMMIT=''
  [ -r "$DIR/setup.env" ] || return 1
  while IFS= read -r line || [ -n "$line" ]; do
    value=${line#*=}
    case $value in -* | *[!A-Za-z0-9._/:@-]*) return 1 ;; esac
    case $line in
      ATTEMPT=*) ATTEMPT=$value ;;
      REPO=*) REPO=$value ;;
      REF=*) REF=$value ;;
      COMMIT=*) COMMIT=$value ;;
    esac
  done <"$DIR/setup.env"
  [ -n "$ATTEMPT" ] && [ -n "$REPO" ] && [ -n "$REF$COMMIT" ]
}

superseded() {
  local now
  now=$(sed -n 's/^ATTEMPT=//p' "$DIR/setup.env" 2>/dev/null)
  [ -n "$now" ] && [ "$now" != "$ATTEMPT" ]
}

# --- setup.json -------------------------------------------------------------------------------------------------

BEAT=0 PHASE=tools PERCENT=0 BUILT=null TAKES='[]'

json_string() { printf '"%s"' "$(printf '%s' "$1" | tr -d '\000-\037\177' | sed 's/\\/\\\\/g; s/"/\\"/g')"; }
HOME_JSON=$(json_string "$SPRITE_HOME")

# $1: exit, $2: error, both as JSON. A full disk leaves the last good file in place.
write_status() {
  BEAT=$((BEAT + 1))
  printf '{"attempt":"%s","beat":%d,"phase":"%s","percent":%d,"commit":%s,"home":%s,"exit":%s,"error":%s,"takes":%s,"updatedAt":"%s"}\n' \
    "$ATTEMPT" "$BEAT" "$PHASE" "$PERCENT" "$BUILT" "$HOME_JSON" "$1" "$2" "$TAKES" \
    "$(date -u +%Y-%m-%dT%H:%M:%SZ)" >"$DIR/setup.json.new" && mv -f "$DIR/setup.json.new" "$DIR/setup.json"
}

# A field of our own setup.json, whose shape is known.
status_field() { sed -n "s/.*\"$1\":\"\{0,1\}\([^,\"]*\).*/\1/p" "$DIR/setup.json" 2>/dev/null; }

# What the failed phase said last: printable text of at most 280 characters, without colours or credentials in URLs.
last_lines() {
  local escape
  escape=$(printf '\033')
  sed -n -e "s/$escape\[[0-9;]*[A-Za-z]//g" -e 's#://[^/@ ]*@#://#g' -e p "$DIR/setup.log" |
    awk '/^== /{text = ""; next} NF {text = text " " $0} END {print substr(text, length(text) > 280 ? length(text) - 279 : 1)}' |
    tr -cd '\040-\176'
}

# --- Processes --------------------------------------------------------------------------------------------------

# When a process was started, in a form that is only good for comparing; empty when there is none. One that has ended
# and still waits for its parent to notice counts as none.
started_at() {
  if [ -d /proc/self ]; then
    sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | awk '$1 != "Z" {print $20}' # field 22; the second may hold spaces
  else
    ps -o lstart= -p "$1" 2>/dev/null | tr -s ' ' _
  fi
}

# Sets OLD_PID, OLD_START and OLD_ATTEMPT, and says whether that very process lives: a number alone is used again.
old_runs() {
  OLD_PID='' OLD_START='' OLD_ATTEMPT=''
  { read -r OLD_PID OLD_START OLD_ATTEMPT <"$DIR/setup.pid"; } 2>/dev/null || return 1
  case $OLD_PID in 0* | 1 | *[!0-9]*) OLD_PID='' ;; esac # never the group of everybody
  [ -n "$OLD_PID" ] && [ -n "$OLD_START" ] && [ "$(started_at "$OLD_PID")" = "$OLD_START" ]
}

# Sends a signal to what is left of an earlier build: its whole group, even where only the leader was killed.
signal_old() {
  if old_runs || { [ -n "$OLD_PID" ] && [ -z "$(started_at "$OLD_PID")" ]; }; then
    kill -s "$1" -- "-$OLD_PID" 2>/dev/null
  fi
}

# Takes setup.lock, waiting up to $1 tenths of a second. Somebody else may have started this attempt meanwhile.
take_lock() {
  local n=0
  until flock -n 9; do
    [ $n -lt "$1" ] || return 1
    n=$((n + 1))
    if old_runs && [ "$OLD_ATTEMPT" = "$ATTEMPT" ]; then exit 0; fi
    sleep 0.1
  done
}

# Whoever started us, we lead a group of our own: this ends it, and us with it unless TERM is ignored.
end_own_group() { kill -TERM -- "-$$"; }

# --- The task that keeps the Sprite awake -----------------------------------------------------------------------

task() {
  curl -fsS -o /dev/null --max-time 5 --unix-socket "$SOCKET" -X "$1" -H 'content-type: application/json' \
    -d "$3" "http://sprite/v1/tasks$2" 2>/dev/null
}

# A Sprite sleeps when nobody talks to it, and a build is silent for minutes. Where the socket is absent, whoever
# looks at setup.json keeps the Sprite awake by looking.
hold_awake() {
  [ -S "$SOCKET" ] || return 0
  task PUT /clawpool-setup '{"expire":"5m"}' || task POST '' '{"name":"clawpool-setup","expire":"5m"}'
}

let_sleep() {
  [ -S "$SOCKET" ] || return 0
  task DELETE /clawpool-setup '{}'
}

# --- Phases: each in a subshell of its own, and each can run again after it was cut off -------------------------

node_is_new_enough() {
  node -e 'const [a, b] = process.versions.node.split(".").map(Number); process.exit(a > 22 || (a === 22 && b >= 12) ? 0 : 1)'
}

phase_tools() {
  local missing='' tool
  have node || { echo 'node is missing'; return 1; }
  node_is_new_enough || { echo "OpenClaw needs Node 22.12, this is $(node --version)"; return 1; }
  if [ -n "$SPRITE_ROOT" ]; then # a laptop: what it has must do, nothing is installed on it
    have git || { echo 'git is missing'; return 1; }
    return 0
  fi
  for tool in git curl python3 make g++; do
    have "$tool" || missing="$missing $tool"
  done
  have bun || have unzip || missing="$missing unzip" # Bun's installer needs it
  [ -e /etc/ssl/certs/ca-certificates.crt ] || missing="$missing ca-certificates"
  [ -n "$missing" ] || return 0
  as_root dpkg --configure -a # a try that was cut off leaves it half done
  as_root apt-get -o DPkg::Lock::Timeout=120 -o Acquire::Retries=3 update || return 1
  # shellcheck disable=SC2086 # a list of words
  as_root apt-get -o DPkg::Lock::Timeout=120 -o Acquire::Retries=3 install -y --no-install-recommends $missing
}

phase_bun() {
  have bun && return 0
  curl -fsSL --retry 3 --max-time 300 -o "$DIR/bun-install.sh" https://bun.sh/install || return 1
  bash "$DIR/bun-install.sh" || return 1
  rm -f "$DIR/bun-install.sh"
  have bun || { echo 'the installer left no bun'; return 1; }
}

phase_pnpm() {
  have pnpm || write_outside npm install -g pnpm
}

phase_clone() {
  write_outside rm -rf "$OPENCLAW" || return 1
  if ! mkdir -p "$OPENCLAW" 2>/dev/null; then
    as_root mkdir -p "$OPENCLAW" || return 1
    as_root chown "$(id -u):$(id -g)" "$OPENCLAW" || return 1
  fi
  cd "$OPENCLAW" || return 1
  git init -q . || return 1
  git remote add origin "$REPO" || return 1
  fetch || return
  git checkout -q --detach FETCH_HEAD || return 1
  [ -z "$COMMIT" ] || [ "$(git rev-parse HEAD)" = "$COMMIT" ] || { echo 'fetched another commit than the pinned one'; return 1; }
}

# git has one exit code for all that can go wrong, so its words are looked at: English ones, by LC_ALL above.
# A 403 or a 5xx is not among them: hosts answer so when they are busy.
fetch() {
  local said
  said=$(git fetch -q --depth 1 origin "${COMMIT:-$REF}" 2>&1) && return
  echo "$said"
  case "$said" in
    *"ouldn't find remote ref"* | *'not our ref'* | *"fatal: repository '"*"' not found"*) return "$REFUSED" ;;
    *'Authentication failed'* | *'could not read Username'*) return "$REFUSED" ;;
  esac
  return 1
}

# The extensions ask for a version of OpenClaw that no registry has; inside this tree any version is the right one.
phase_patch() {
  local file
  [ -d "$OPENCLAW/extensions/convos" ] || { echo 'this repository has no extensions/convos'; return 1; }
  find "$OPENCLAW/extensions" -name node_modules -prune -o -type f -name package.json -print | while IFS= read -r file; do
    sed -e 's/\("openclaw"[[:space:]]*:[[:space:]]*\)">=[^"]*"/\1"*"/g' \
      -e 's/\("openclaw"[[:space:]]*:[[:space:]]*\)"workspace:[^"]*"/\1"*"/g' "$file" >"$file.new" || exit 1
    if cmp -s "$file" "$file.new"; then rm -f "$file.new"; else mv -f "$file.new" "$file" || exit 1; fi
  done
}

phase_install() {
  cd "$OPENCLAW" && pnpm install --no-frozen-lockfile
}

phase_build() {
  cd "$OPENCLAW" && pnpm build || return
  [ -f "$OPENCLAW/dist/entry.js" ] || { echo 'the build left no dist/entry.js'; return 1; }
}

phase_wrapper() {
  printf '#!/usr/bin/env bash\nexec node %q "$@"\n' "$OPENCLAW/dist/entry.js" >"$DIR/openclaw.new" || return 1
  chmod 755 "$DIR/openclaw.new" || return 1
  write_outside mkdir -p "$BIN" || return 1
  write_outside mv -f "$DIR/openclaw.new" "$BIN/openclaw"
}

# Nobody has used this Sprite yet: what a build left of an identity, or an earlier try of instructions, is nobody's.
phase_workspace() {
  local owner
  mkdir -p "$HOME/.openclaw/workspace" || return 1
  rm -rf "$HOME/.convos" "$HOME/.openclaw/workspace/INSTRUCTIONS.md" || return 1
  owner=$(stat -c %u:%g "$HOME" 2>/dev/null || stat -f %u:%g "$HOME") || return 1
  [ "$(id -u)" != 0 ] || chown -R "$owner" "$HOME/.openclaw" # the gateway may run as the home's owner
}

# Prints the fields of a claim's request that the extension reads (`body.x`, `"x"`, `{ x }`) as a JSON array. A field
# that is only talked about in a comment must not count: nobody would write the instructions then.
fields_taken() {
  local field list=''
  for field in instructions profileName description imageUrl permissions profileImage; do
    grep -rqE --include='*.ts' --include='*.js' --include='*.mjs' --exclude-dir=node_modules \
      "[.]${field}([^A-Za-z0-9_]|\$)|[\"']${field}[\"']|[{,][[:space:]]*${field}[[:space:]]*[,}=]" \
      "$OPENCLAW/extensions/convos" && list="$list,\"$field\""
  done
  printf '[%s]' "${list#,}"
}

# --- The build --------------------------------------------------------------------------------------------------

TICKED=0 TICKS=0

# Every BEAT_SECONDS, by a signal from the ticker: `wait` is interrupted, so setup.json has one writer only.
tick() {
  TICKED=1 TICKS=$((TICKS + 1))
  if superseded; then end_own_group; fi
  write_status null null
  [ $((TICKS % HOLD_TICKS)) != 0 ] || hold_awake 9>&- &
}

# Ends everything of the build that still runs, then says how it went.
finish() {
  trap '' TERM USR1
  end_own_group
  let_sleep
  rm -f "$DIR/setup.pid"
  superseded || write_status "$1" "$2"
  exit "$1"
}

phase() {
  local child code=127 answer
  PHASE=$1 PERCENT=$2
  if superseded; then end_own_group; fi
  echo "== $PHASE"
  write_status null null
  "phase_$PHASE" </dev/null &
  child=$!
  TICKED=1
  while [ "$TICKED" = 1 ]; do # a tick ends a wait early
    TICKED=0
    wait "$child"
    answer=$?
    [ "$answer" = 127 ] || code=$answer # 127 also means: waited for already
  done
  [ "$code" = 0 ] || finish "$code" "$(json_string "$PHASE:$(last_lines)")"
}

run() {
  local ticker_start
  read_env || die 'setup.env is missing or not to be read'
  ticker_start=$(started_at $$)
  echo "$$ $ticker_start $ATTEMPT" >"$DIR/setup.pid.new" && mv -f "$DIR/setup.pid.new" "$DIR/setup.pid" || exit 1
  BEAT=$(status_field beat)
  hold_awake 9>&- &
  trap tick USR1
  (while sleep $BEAT_SECONDS && [ "$(started_at $$)" = "$ticker_start" ]; do kill -USR1 $$; done) 9>&- &

  phase tools 0
  phase bun 5
  phase pnpm 10
  if ! have pnpm; then PATH=$PATH:$(npm config get prefix)/bin; fi
  phase clone 15
  BUILT=$(json_string "$(git -C "$OPENCLAW" rev-parse HEAD)")
  phase patch 25
  phase install 30
  phase build 60
  phase wrapper 95
  phase workspace 97
  TAKES=$(fields_taken)
  PERCENT=100
  finish 0 null
}

# --- The launcher -----------------------------------------------------------------------------------------------

launch() {
  local n=0
  if ! have flock || ! have setsid; then die 'flock and setsid are needed'; fi
  read_env || die 'setup.env is missing, or a value in it is empty or has a character outside A-Za-z0-9._/:@-'
  [ -w "$DIR" ] || as_root chown "$(id -u):$(id -g)" "$DIR"
  if old_runs && [ "$OLD_ATTEMPT" = "$ATTEMPT" ]; then exit 0; fi
  exec 9>>"$DIR/setup.lock" || exit 1
  if old_runs || ! flock -n 9; then
    signal_old TERM
    take_lock 50
    signal_old KILL
  fi
  take_lock 50 || die 'an earlier build holds setup.lock and does not end'
  if [ "$(status_field attempt)" = "$ATTEMPT" ]; then
    [ "$(status_field exit)" = null ] || exit 0
    BEAT=$(status_field beat) # it was cut off: its beat goes on growing
  fi
  write_status null null || exit 1
  setsid bash "$0" run </dev/null >"$DIR/setup.log" 2>&1 &
  until old_runs && [ "$OLD_ATTEMPT" = "$ATTEMPT" ]; do # once it is known, nobody starts it twice
    n=$((n + 1))
    [ $n -lt 100 ] || die 'the build did not start'
    [ "$(status_field exit)" = null ] || exit 0
    sleep 0.05
  done
}

check_root
case ${1:-} in
  '') launch ;;
  run) run ;;
  *) die "unknown argument: $1" ;;
esac
