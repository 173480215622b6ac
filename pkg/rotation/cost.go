package rotation

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
)

// cost states what a strategy asks of the mesh, on the way that is to be gone.
func (p *Plan) cost(s *mesh.Snapshot, strategy Strategy, c course) Cost {
	cost := Cost{}
	var replicas int
	for _, plane := range s.ControlPlanes {
		replicas += int(plane.Desired)
	}
	slow := p.late(s)
	pushed := len(s.Proxies) - len(slow)
	steps := c.forward
	if p.config.Back {
		steps = c.back
	}
	most := longest(&cost, slow)
	if len(slow) < len(s.Proxies) && slices.ContainsFunc(steps, func(s Step) bool { return s.unpushed }) {
		longest(&cost, s.Proxies)
	}
	within := func(step Step) time.Duration { // that the last proxy has to renew
		if step.unpushed {
			return longest(&Cost{}, s.Proxies)
		}
		return most
	}
	for _, step := range steps {
		if step.Restart {
			cost.IstiodRestarts += replicas
		}
		if step.FileWait {
			cost.FileWaits += p.config.TrustFileWait
		}
		if step.Waves != "" {
			cost.WorkloadRestarts += len(step.restarted(s.Proxies))
		}
		// Whoever is restarted is not waited for; where that is stale agents alone, the others are.
		if step.Waves == wavesStale || step.Waves == "" && step.expect.asksProxies() && (p.config.Back || step.Phase != Adopt && step.Phase != DropCross) {
			cost.LongestWait += within(step)
		}
	}
	if pushed > 0 && (strategy == HotBundle || strategy == BundleByRenewal || strategy == BundleByRestart) {
		// Every write of another bundle re-issues every pushed leaf.
		cost.CSRs, cost.Bursts = pushed, 3
	}
	if p.citadel {
		cost.LongestWait, cost.Lagging = citadelWait+(time.Duration(len(s.WorkloadSecrets))*citadelWrite).Truncate(time.Second), nil
	}
	return cost
}

// longest is how long the last of these may take to renew, and names those in the cost.
func longest(cost *Cost, proxies []mesh.Proxy) (longest time.Duration) {
	cost.Lagging = nil
	for _, proxy := range proxies {
		switch within := proxy.RenewsWithin(); {
		case within > longest:
			longest, cost.Lagging = within, []string{proxy.Ref()}
		case within == longest && len(cost.Lagging) < 5:
			cost.Lagging = append(cost.Lagging, proxy.Ref())
		}
	}
	return longest
}

// tooLate says so where a strategy would not end before the old root does.
func (p *Plan) tooLate(s *mesh.Snapshot, cost Cost) string {
	if p.oldRoot == nil || p.oldRoot.X509 == nil || p.oldRoot.Equal(p.config.New.Roots.Certs[0]) {
		return ""
	}
	left, waits := p.oldRoot.X509.NotAfter.Sub(s.TakenAt), cost.LongestWait+cost.FileWaits
	if cross := p.config.Cross; cross != nil && cross.X509 != nil {
		left = min(left, cross.X509.NotAfter.Sub(s.TakenAt))
	}
	if waits <= left {
		return ""
	}
	return fmt.Sprintf("the old root ends in %s, and this waits up to %s", left.Round(time.Minute), waits.Round(time.Minute))
}

const (
	// leafDefault is how long a leaf lives that nobody asks otherwise of, leafMost what
	// istiods allow at most where they are not told another limit (istio 1.30.3
	// pilot/pkg/features/security.go, DEFAULT_WORKLOAD_CERT_TTL, MAX_WORKLOAD_CERT_TTL).
	leafDefault = 24 * time.Hour
	leafMost    = 90 * 24 * time.Hour
)

// leafLife is the longest that a leaf of this mesh lives. What a virtual machine asks
// for cannot be seen: it may be as much as its istiod allows.
func leafLife(s *mesh.Snapshot) time.Duration {
	var longest time.Duration
	for _, p := range s.Proxies {
		longest = max(longest, time.Duration(p.SecretTTL))
	}
	if longest == 0 {
		longest = leafDefault
	}
	if len(s.VMs) == 0 {
		return longest
	}
	if len(s.ControlPlanes) == 0 {
		return max(longest, leafMost)
	}
	for _, plane := range s.ControlPlanes {
		longest = max(longest, cmp.Or(time.Duration(plane.Flags.MaxWorkloadTTL), leafMost))
	}
	return longest
}
