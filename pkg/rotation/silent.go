package rotation

import (
	"time"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
)

// kubeletSilence is how long a kubelet may say nothing. It writes its Lease every ten
// seconds, and where Leases may not be read its node's status is all there is, every
// five minutes (kubernetes pkg/kubelet/apis/config/v1beta1/defaults.go,
// NodeStatusReportFrequency).
const kubeletSilence = 6 * time.Minute

// silentAfter is that on the clock of the Snapshot: a machine that is ahead of the
// cluster must not take every kubelet for silent.
func silentAfter(s *mesh.Snapshot) time.Duration {
	return kubeletSilence + max(0, time.Duration(s.ClockSkew))
}

// silent are the proxies on nodes whose kubelets do not report, by name: whether they
// still run, and whether their trust files follow, is unknown, whatever they have
// loaded. It is empty where the expectation asks nothing of proxies, and where nodes
// were not looked at or nobody may see them: gaps has a word on those.
func (j *judgement) silent() map[string]mesh.Unheard {
	if !j.e.asksProxies() || len(j.s.Nodes) == 0 {
		return nil
	}
	silent := map[string]mesh.Unheard{}
	for _, u := range j.s.Unheard(silentAfter(j.s)) {
		if !u.Unread {
			silent[u.Proxy] = u
		}
	}
	return silent
}

// warnNodes says what cannot be told without the list of nodes.
func (p *Plan) warnNodes(s *mesh.Snapshot) {
	p.nodes = len(s.Nodes) > 0
	for _, g := range s.Gaps {
		if g.Resource == "nodes" {
			p.nodes = false
			p.warn("nodes-unread", g.Part, g.Error+": a pod on a node whose kubelet is silent looks like any other", "ask for a role that may list nodes, or see that all are ready while this runs")
		}
	}
}
