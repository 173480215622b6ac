#!/usr/bin/env bash
# run.sh snapshot | check | install
#   snapshot  a release of the last commit into dist/, offline: what needs the network or an identity is left out
#   check     the same, built twice in two folders; archives, SBOMs and krew's manifest checked; installed by krew and run by kubectl
#   install   the last part of check alone, of what is in dist/
# Only what is committed is built. The tools are built from tools/ into bin/ first (make).
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
export PATH=$root/bin:$PATH TAP_GITHUB_TOKEN=none GOFLAGS=
left_out=sign,ko,docker,publish,announce

build() { # FOLDER MORE-TO-SKIP: a clone, so that nothing but the commit is in it, built into FOLDER/dist
  git clone --quiet --no-hardlinks "$root" "$1" && git -C "$1" checkout --quiet --detach "$commit"
  (cd "$1" && goreleaser release --snapshot --clean --parallelism 2 --skip="$left_out${2:+,$2}") >"$1.log" 2>&1 || { tail -30 "$1.log" >&2; exit 1; }
}
commit=$(git -C "$root" rev-parse HEAD)
work=$(mktemp -d)
trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT

case ${1:-} in
snapshot | check | install) ;;
*) sed -n '2,6s/^# \{0,1\}//p' "$0" >&2; exit 64 ;;
esac
cd "$root"
if [ "$1" != install ]; then
  build "$work/one"
  rm -rf dist && cp -a "$work/one/dist" dist
  echo "built into dist/, left out: signatures by cosign (sign), the image (ko, docker), uploads to GitHub, tap and bucket (publish), announcements (announce)"
  [ "$1" = check ] || exit 0
  build "$work/a folder of another name" sbom,nfpm,homebrew,scoop
  go run ./test/release -dist dist -again "$work/a folder of another name/dist" -out dist/krew-bot/meshca.yaml
fi
# Offline: without -skip-install it would download what is not published yet.
validate-krew-manifest -manifest dist/krew-bot/meshca.yaml -skip-install
validate-krew-manifest -manifest dist/krew/meshca.yaml -skip-install

# Installed for real, in folders of its own. A kubectl: that on the PATH, or the real mesh's.
command -v kubectl >/dev/null || PATH=$PATH:$(dirname "$(ls -d "${XDG_CACHE_HOME:-$HOME/.cache}"/meshca-e2e/*/bin/kubectl | head -1)")
export KREW_ROOT=$work/krew KUBECONFIG=$work/none HOME=$work/home
mkdir -p "$HOME" "$work/path" && ln -s "$root/bin/krew" "$work/path/kubectl-krew"
export PATH=$KREW_ROOT/bin:$work/path:$PATH
arch=$(go env GOARCH) archive=
for archive in "$root"/dist/kubectl-meshca_v*_linux_"$arch".tar.gz; do :; done
kubectl krew install --manifest "$root/dist/krew-bot/meshca.yaml" --archive "$archive" </dev/null
[ -f "$KREW_ROOT/receipts/meshca.yaml" ] || { echo "release: krew has no receipt of meshca" >&2; exit 1; }
kubectl meshca version

set +e
kubectl meshca check >"$work/out" 2>"$work/err"; status=$?
set -e
cat "$work/err"
[ $status = 1 ] && [ ! -s "$work/out" ] && grep -q '^error: ' "$work/err" && grep -q '^hint: ' "$work/err" ||
  { echo "release: check without a cluster ended with $status" >&2; exit 1; }
if kubectl meshca --help | grep -q '^  demo '; then kubectl meshca demo --help >/dev/null; fi
ln -s "$KREW_ROOT/bin/kubectl-meshca" "$work/path/kubectl_complete-meshca"
kubectl __complete meshca ver | grep -q '^verify' || { echo "release: kubectl does not complete meshca" >&2; exit 1; }

size=$(stat -c %s dist/plugin_linux_amd64_v1/kubectl-meshca)
echo "linux/amd64: $((size / 1000000)) MB"
[ "$size" -le 45000000 ] || { echo "release: the binary is larger than 45 MB" >&2; exit 1; }
best=99999
for _ in 1 2 3 4 5 6 7 8 9 10; do
  from=$(date +%s%N); "$KREW_ROOT/bin/kubectl-meshca" --help >/dev/null; took=$((($(date +%s%N) - from) / 1000000))
  [ $took -ge $best ] || best=$took
done
echo "--help: $best ms, the best of ten"
