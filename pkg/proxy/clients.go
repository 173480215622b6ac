package proxy

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// MonitoringPort is where istiod answers for itself, and on loopback for whom it
// serves (istio 1.30.3 pilot/pkg/bootstrap/monitoring.go, pilot/pkg/xds/debug.go).
const MonitoringPort = 15014

// clientsPath: some 2 KiB for each proxy since 1.24 (pilot/pkg/xds/debug.go, SyncStatus).
const clientsPath = "/debug/syncz"

// Client is one proxy that is connected to an istiod.
type Client struct {
	// Proxy is namespace/name of its pod.
	Proxy string `json:"proxy"`
	// Behind are the kinds of configuration of which it has not acknowledged what was
	// sent last: it is on the way, or was refused.
	Behind []string `json:"behind,omitempty"`
}

// ReadClients asks one istiod replica which proxies are connected to it, and what
// each has acknowledged: /debug/syncz, whose contents istioctl proxy-status shows,
// and which asks for no credentials on loopback. istiod has it unless
// ENABLE_DEBUG_ON_HTTP is off. Seen on istiod 1.31; older releases have the fields
// that are read here too.
func ReadClients(ctx context.Context, dialer Dialer, pod Pod) ([]Client, error) {
	reader := &Reader{Dialer: dialer, Now: func() time.Time { return time.Time{} }}
	answer := reader.ask(ctx, Target{Pod: pod, AdminPort: MonitoringPort}, clientsPath)[0]
	if answer.err != nil {
		return nil, answer.err
	}
	return ParseClients(answer.raw)
}

// ParseClients reads istiod's /debug/syncz. It never returns nil without an error:
// nobody connected is an answer.
func ParseClients(raw []byte) ([]Client, error) {
	var entries []struct {
		Proxy         string `json:"proxy"`
		ClusterSent   string `json:"cluster_sent"`
		ClusterAcked  string `json:"cluster_acked"`
		ListenerSent  string `json:"listener_sent"`
		ListenerAcked string `json:"listener_acked"`
		RouteSent     string `json:"route_sent"`
		RouteAcked    string `json:"route_acked"`
		EndpointSent  string `json:"endpoint_sent"`
		EndpointAcked string `json:"endpoint_acked"`
	}
	if err := json.Unmarshal(raw, &entries); err != nil {
		return nil, fmt.Errorf("parsing the list of connected proxies: %w", err)
	}
	clients := make([]Client, 0, len(entries))
	for _, e := range entries {
		// Name and namespace: the former may have dots, the latter has none.
		dot := strings.LastIndexByte(e.Proxy, '.')
		if dot <= 0 || dot == len(e.Proxy)-1 {
			return nil, fmt.Errorf("parsing the list of connected proxies: %q is no pod and namespace", e.Proxy)
		}
		c := Client{Proxy: e.Proxy[dot+1:] + "/" + e.Proxy[:dot]}
		for _, kind := range []struct{ name, sent, acked string }{
			{"clusters", e.ClusterSent, e.ClusterAcked}, {"listeners", e.ListenerSent, e.ListenerAcked},
			{"routes", e.RouteSent, e.RouteAcked}, {"endpoints", e.EndpointSent, e.EndpointAcked},
		} {
			if kind.sent != kind.acked {
				c.Behind = append(c.Behind, kind.name)
			}
		}
		clients = append(clients, c)
	}
	return clients, nil
}
