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
	// Unread says why its entry could not be read: Proxy is empty then, or all that is
	// known.
	Unread string `json:"unread,omitempty"`
}

// clientEntry is what is read of an entry of the list.
type clientEntry struct {
	ClusterSent   string `json:"cluster_sent"`
	ClusterAcked  string `json:"cluster_acked"`
	ListenerSent  string `json:"listener_sent"`
	ListenerAcked string `json:"listener_acked"`
	RouteSent     string `json:"route_sent"`
	RouteAcked    string `json:"route_acked"`
	EndpointSent  string `json:"endpoint_sent"`
	EndpointAcked string `json:"endpoint_acked"`
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
// nobody connected is an answer. An entry that cannot be read is unknown alone, whatever
// other clients istiod may have and other releases may write of one.
func ParseClients(raw []byte) ([]Client, error) {
	var entries []json.RawMessage
	if err := json.Unmarshal(raw, &entries); err != nil {
		return nil, fmt.Errorf("parsing the list of connected proxies: %w", err)
	}
	clients := make([]Client, 0, len(entries))
	for i, entry := range entries {
		clients = append(clients, clientOf(i, entry))
	}
	return clients, nil
}

// clientOf reads one entry, the name first: of whom the rest cannot be read is known then.
func clientOf(i int, raw []byte) Client {
	var named struct {
		Proxy string `json:"proxy"`
	}
	if err := json.Unmarshal(raw, &named); err != nil {
		return Client{Unread: fmt.Sprintf("entry %d of the list of connected proxies has no name that can be read", i+1)}
	}
	// Name and namespace: the former may have dots, the latter has none.
	dot := strings.LastIndexByte(named.Proxy, '.')
	if dot <= 0 || dot == len(named.Proxy)-1 {
		return Client{Unread: fmt.Sprintf("entry %d of the list of connected proxies: %.253q is no pod and namespace", i+1, named.Proxy)}
	}
	c := Client{Proxy: named.Proxy[dot+1:] + "/" + named.Proxy[:dot]}
	var e clientEntry
	if err := json.Unmarshal(raw, &e); err != nil {
		c.Unread = fmt.Sprintf("entry %d of the list of connected proxies: %s", i+1, err)
		return c
	}
	for _, kind := range []struct{ name, sent, acked string }{
		{"clusters", e.ClusterSent, e.ClusterAcked}, {"listeners", e.ListenerSent, e.ListenerAcked},
		{"routes", e.RouteSent, e.RouteAcked}, {"endpoints", e.EndpointSent, e.EndpointAcked},
	} {
		if kind.sent != kind.acked {
			c.Behind = append(c.Behind, kind.name)
		}
	}
	return c
}
