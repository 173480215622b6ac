#!/usr/bin/env bash
# completions.sh DIR: the shells' completion scripts, as packages install them.
set -euo pipefail
mkdir -p "$1"
bin=$(mktemp -d)
trap 'rm -rf "$bin"' EXIT
CGO_ENABLED=0 go build -trimpath -o "$bin/" ./cmd/kubectl-meshca
"$bin/kubectl-meshca" completion bash >"$1/kubectl-meshca.bash"
"$bin/kubectl-meshca" completion zsh >"$1/_kubectl-meshca"
"$bin/kubectl-meshca" completion fish >"$1/kubectl-meshca.fish"
