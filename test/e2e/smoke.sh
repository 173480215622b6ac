#!/usr/bin/env bash
# smoke.sh: the rows that every change must pass on the real mesh that inside.sh started. The mesh has 6 proxies in the
# namespaces a, b and c, two istiods, leaves of 2 minutes, and three clients that make a new mTLS handshake ten times a second.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd); A=$LAB/ca/A/root-cert.pem; passed=0; failed=0
row() { # row NAME RESULT DETAIL
  if [ "$2" = 0 ]; then passed=$((passed + 1)); printf 'ok    %-28s %s\n' "$1" "$3"; else failed=$((failed + 1)); printf 'FAIL  %-28s %s\n' "$1" "$3"; fi
}
meshca() { timeout 60 kubectl meshca "$@" >"$LAB/out" 2>"$LAB/err"; code=$?; }

# Every live proxy is read, has the root, and its live contexts confirm the leaf.
meshca envoy --root "$A" -o json
n=$(jq '[.items[] | select(.state=="loaded" and .leafConfirmed)] | length' "$LAB/out")
[ "$code" = 0 ] && [ "$n" = 6 ]; row envoy-all-loaded $? "exit $code, $n of 6 proxies loaded and confirmed"

# A root that nobody has loaded is missing on each of them.
"$here/mesh/ca.sh" "$LAB/ca/B" B
meshca envoy --root "$LAB/ca/B/root-cert.pem" -o json
n=$(jq '[.items[] | select(.state=="missing")] | length' "$LAB/out")
[ "$code" = 2 ] && [ "$n" = 6 ]; row envoy-foreign-root $? "exit $code, $n of 6 proxies lack it"

# A proxy that does not answer is unknown, by name, and unknown is not yes.
uid=$(kubectl -n b get pod -l app=server -o jsonpath='{.items[0].metadata.uid}'); name=$(kubectl -n b get pod -l app=server -o jsonpath='{.items[0].metadata.name}')
envoy=$(for p in $(pgrep -x envoy); do grep -q "${uid//-/[-_]}" "/proc/$p/cgroup" && echo "$p"; done | head -1)
if [ -n "$envoy" ]; then
  kill -STOP "$envoy"; meshca envoy --root "$A" --timeout 3s; kill -CONT "$envoy"
  [ "$code" = 2 ] && grep -q "1 of 6 proxies are not proven: b/$name (unreadable)" "$LAB/err"; row envoy-unreadable $? "exit $code, $(cat "$LAB/err" | head -1)"
else row envoy-unreadable 1 "no Envoy process of pod $uid found to stop"; fi

# Missing permissions: the verb and the resource are named; nothing is concluded.
meshca envoy --as nobody -o json
[ "$code" = 1 ] && [ ! -s "$LAB/out" ] && grep -q 'cannot list resource "pods"' "$LAB/err"; row envoy-may-not-list $? "exit $code"
kubectl create clusterrole podreader --verb list --resource pods >/dev/null && kubectl create clusterrolebinding podreader --clusterrole podreader --user reader >/dev/null
meshca envoy --as reader --root "$A" -o json
n=$(jq '[.items[] | select(.state=="unreadable" and (.reason | contains("cannot create resource \"pods/portforward\"")))] | length' "$LAB/out")
[ "$code" = 2 ] && [ "$n" = 6 ]; row envoy-may-not-forward $? "exit $code, $n of 6 unreadable for want of pods/portforward"
# "create" alone is enough: where the API server wants "get" for a WebSocket, SPDY is the way.
kubectl create clusterrole forwarder --verb create --resource pods/portforward >/dev/null && kubectl create clusterrolebinding forwarder --clusterrole forwarder --user reader >/dev/null
meshca envoy --as reader --root "$A"; [ "$code" = 0 ]; row envoy-least-role $? "exit $code with list on pods and create on pods/portforward"

# The control: the root replaced in one step must break handshakes, or this mesh could not show that a rotation does not.
# Meanwhile the proxies that have not renewed are named, and at the end none is.
mkfifo "$LAB/end"; python3 "$here/mesh/tally.py" - <"$LAB/end" >"$LAB/tally.json" & tally=$!; exec 3>"$LAB/end"
"$here/mesh/setca.sh" "$LAB/ca/B"; kubectl -n istio-system rollout restart deploy/istiod >/dev/null; kubectl -n istio-system rollout status deploy/istiod --timeout=120s >/dev/null
meshca envoy --root "$LAB/ca/B/root-cert.pem"; during=$code; deadline=$((SECONDS + 150))
while meshca envoy --root "$LAB/ca/B/root-cert.pem"; [ "$code" != 0 ] && [ $SECONDS -lt $deadline ]; do sleep 1; done
exec 3>&-; wait "$tally"; ok=$(jq .ok "$LAB/tally.json"); bad=$(jq .failed "$LAB/tally.json")
[ "${bad:-0}" -gt 0 ]; row control-one-step-swap $? "$bad of $((ok + bad)) requests failed, as they must"
[ "$during" = 2 ] && [ "$code" = 0 ]; row envoy-follows-renewal $? "exit $during while leaves were old, $code when all had renewed"

echo; echo "$passed passed, $failed failed"
[ "$failed" = 0 ] && [ "$passed" = 8 ]
