package mesh

import (
	"cmp"
	"time"
)

// Unheard is a proxy whose node's kubelet does not report: whether its pod still
// runs, and when its files follow, is unknown.
type Unheard struct {
	Proxy string `json:"proxy"` // namespace/name
	Node  string `json:"node"`
	Why   string `json:"why"`
	// Unread is true where it is not the kubelet that is silent: nodes could not be
	// read.
	Unread bool `json:"unread,omitempty"`
}

// Unheard lists the proxies on nodes that are not ready, that have not been heard of
// for longer than within before the Snapshot (0 leaves that out), or that are not
// there, in the order of the Snapshot. Pods that have not started yet are left out:
// what they get, they get from istiods that were proven.
func (s *Snapshot) Unheard(within time.Duration) []Unheard {
	nodes := make(map[string]Node, len(s.Nodes))
	for _, n := range s.Nodes {
		nodes[n.Name] = n
	}
	unread := ""
	for _, g := range s.Gaps {
		if g.Resource == "nodes" {
			unread = cmp.Or(g.Error, "nodes could not be read")
		}
	}
	var all []Unheard
	for _, p := range s.Proxies {
		if p.Idle() || p.Node == "" {
			continue
		}
		u := Unheard{Proxy: p.Ref(), Node: p.Node}
		switch node, ok := nodes[p.Node]; {
		case !ok && unread != "":
			u.Why, u.Unread = unread, true
		case !ok:
			u.Why = "there is no such node"
		case !node.Ready:
			u.Why = "its kubelet is not ready"
			if !node.LastReady.IsZero() {
				u.Why += " since " + node.LastReady.UTC().Format(time.RFC3339)
			}
		case within > 0 && s.TakenAt.Sub(node.LastReady) > within:
			u.Why = "its kubelet was last heard of at " + node.LastReady.UTC().Format(time.RFC3339)
		default:
			continue
		}
		all = append(all, u)
	}
	return all
}
