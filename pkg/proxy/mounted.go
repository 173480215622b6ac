package proxy

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// What an agent serves of files in the pod is named after these (istio 1.30.3
// pkg/security/security.go:531), the same since 1.6.
const (
	fileChain = "file-cert:"
	fileRoots = "file-root:"
)

// ofFile says that a secret is one: the mesh's own where the node's metadata name the
// files, else a Gateway's or a DestinationRule's.
func ofFile(name string) bool {
	return strings.HasPrefix(name, fileChain) || strings.HasPrefix(name, fileRoots)
}

// pair names the secrets of a certificate and of the roots beside it.
type pair struct{ chain, roots string }

// agentsPair is what an agent gets from its CA.
func agentsPair() pair { return pair{workloadSecret, rootSecret} }

// mounted are the files that a proxy is told to use instead, as a server and as a client,
// by its node's metadata.
type mounted struct {
	ServerChain string `json:"TLS_SERVER_CERT_CHAIN"`
	ServerKey   string `json:"TLS_SERVER_KEY"`
	ServerRoots string `json:"TLS_SERVER_ROOT_CERT"`
	ClientChain string `json:"TLS_CLIENT_CERT_CHAIN"`
	ClientKey   string `json:"TLS_CLIENT_KEY"`
	ClientRoots string `json:"TLS_CLIENT_ROOT_CERT"`
}

// pairs are those of its two sides, each once. Listeners take file by file what there is
// (istio 1.30.3 pilot/pkg/security/model/authentication.go:180), clusters all of it where
// a certificate is named, and without roots the system's
// (pilot/pkg/networking/core/cluster_builder.go:177, cluster_tls.go:211).
func (m mounted) pairs() []pair {
	client, server := agentsPair(), agentsPair()
	if m.ServerChain != "" && m.ServerKey != "" {
		server.chain = fileChain + m.ServerChain + "~" + m.ServerKey
	}
	if m.ServerRoots != "" {
		server.roots = fileRoots + m.ServerRoots
	}
	if m.ClientChain != "" {
		client = pair{fileChain + m.ClientChain + "~" + m.ClientKey, fileRoots + "system"}
		if m.ClientRoots != "" {
			client.roots = fileRoots + m.ClientRoots
		}
	}
	return slices.Compact([]pair{client, server})
}

// parseMounted reads them of what an Envoy was started with, which every release shows.
func parseMounted(raw []byte) (mounted, error) {
	var dump struct {
		Configs []struct {
			Bootstrap struct {
				Node struct {
					Metadata *mounted `json:"metadata"`
				} `json:"node"`
			} `json:"bootstrap"`
		} `json:"configs"`
	}
	if err := json.Unmarshal(raw, &dump); err != nil {
		return mounted{}, fmt.Errorf("parsing the bootstrap: %w", err)
	}
	for _, c := range dump.Configs {
		if m := c.Bootstrap.Node.Metadata; m != nil {
			return *m, nil
		}
	}
	return mounted{}, errors.New("parsing the bootstrap: it has no metadata of the node")
}
