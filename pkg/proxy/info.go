package proxy

import (
	"encoding/json"
	"fmt"
	"strings"
)

// Info is what an Envoy says of itself by /server_info.
type Info struct {
	// Istio is the agent's release from the node's metadata (ISTIO_VERSION), or ""
	// where the build carries none, or a number that counts otherwise than Istio does: a
	// vendor's (2.5.2), or a company's own (2024.5.1).
	Istio string `json:"istio,omitempty"`
	// Envoy is Envoy's own release, "1.40.0". Agent and Envoy come in one image,
	// and Istio 1.N has shipped with Envoy 1.(N+8) from 1.5 on, so it bounds the
	// agent's release where nothing else names it.
	Envoy string `json:"envoy,omitempty"`
}

// ParseInfo reads Envoy's /server_info.
func ParseInfo(raw []byte) (Info, error) {
	var answer struct {
		Version string `json:"version"` // commit/release/state/type/library
		Node    struct {
			Metadata map[string]any `json:"metadata"`
		} `json:"node"`
	}
	if err := json.Unmarshal(raw, &answer); err != nil {
		return Info{}, fmt.Errorf("parsing /server_info: %w", err)
	}
	var info Info
	if parts := strings.Split(answer.Version, "/"); len(parts) > 1 {
		info.Envoy = numbered(parts[1])
	}
	istio, _ := answer.Node.Metadata["ISTIO_VERSION"].(string)
	if number := numbered(istio); strings.HasPrefix(number, "0.") || strings.HasPrefix(number, "1.") {
		info.Istio = istio
	}
	return info, nil
}

// numbered is the MAJOR.MINOR.PATCH that s begins with, or "".
func numbered(s string) string {
	var major, minor, patch uint
	if n, _ := fmt.Sscanf(s, "%d.%d.%d", &major, &minor, &patch); n < 3 {
		return ""
	}
	return fmt.Sprintf("%d.%d.%d", major, minor, patch)
}
