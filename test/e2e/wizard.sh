#!/usr/bin/env bash
# wizard.sh [FOLDER]: the wizard in tmux on a real mesh, key by key, from check to the proof; fails where a screen does not
# come. Each screen is kept as FOLDER/NAME.ansi; "make captures" draws them. Run it inside a mesh:
#   echo "bash \$E2E/wizard.sh /tmp/screens" | test/e2e/run.sh shell hot
# WIZARD names another command to drive, such as a demo. The passphrase is this script's alone.
set -euo pipefail
out=${1:-$STATE/screens}; mkdir -p "$out"; rm -f "$out"/*.ansi
socket=$STATE/tmux; width=100; height=32
t() { tmux -S "$socket" -f /dev/null "$@"; }
end() { t kill-server 2>/dev/null || true; }
trap end EXIT
screen() { t capture-pane -p -t wizard; }
flat() { screen | tr -s '[:space:]' ' '; }
keep() { t capture-pane -e -p -t wizard >"$out/$1.ansi"; echo "kept $1"; }
press() { t send-keys -t wizard "$@"; sleep 0.3; }
see() { # see TEXT [SECONDS]
  local until=$((SECONDS + ${2:-60}))
  while ! flat | grep -qF -- "$1"; do
    [ $SECONDS -lt $until ] || { echo "never came: $1" >&2; screen >&2; exit 1; }
    sleep 0.2
  done
}
cd "$STATE"
wizard=${WIZARD:-kubectl-meshca wizard --trust-file-wait 20s}
began=$SECONDS
t new-session -d -s wizard -x $width -y $height "env TERM=screen-256color $wizard; echo exit \$?; sleep 600"
see "checks passed"; keep 1-check
press 2; see "audited"; keep 2-versions
press 3; see "New CA"
press Down Down Down Down # to the passphrase
press -l correct-horse-battery; press Enter; press -l correct-horse-battery; press Enter; press Enter
keep 3-form
screen | grep -q correct-horse && { echo "the passphrase is on the screen" >&2; exit 1; }
press Enter; see "enter asks for the cluster's name"; keep 4-plan
press Enter; see "Type the cluster's name, "
name=$(screen | sed -n "s/.*Type the cluster's name, \(.*\), and press enter.*/\1/p" | head -1)
press -l "$name"; keep 5-confirm; press Enter
see "trust-new" 90; press p; see "Paused in phase"; keep 6-paused
press p; see "resumed"
# Each phase as it was when its bars were on the screen.
last=; until=$((SECONDS + 300))
until flat | grep -qF "Done: every proxy trusts"; do
  [ $SECONDS -lt $until ] || { echo "it did not end" >&2; screen >&2; exit 1; }
  phase=$(screen | grep -oE "Phase [0-9] of [0-9], [a-z-]+" | head -1 | sed 's/.*, //') || true
  if [ -n "$phase" ] && [ "$phase" != "$last" ] && screen | grep -q unreadable; then keep "7-$phase"; last=$phase; fi
  sleep 0.1
done
keep 8-done
press w; see "Saved as"; ls "$STATE"/meshca-report-*.md "$STATE"/meshca-report-*.html
press 4; see "Proven: every live certificate"; keep 9-verify
press 5; see "each has a valid certificate"; press Enter; sleep 0.5; keep 9-envoy
press q; see "exit 0"
[ -n "${WIZARD:-}" ] || { kubectl-meshca verify; kubectl-meshca report --out "$out/report.html" --force; }
echo "wizard: a whole rotation in $((SECONDS - began)) s"
