package rotation

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/pki"
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
	signed := false // nobody has a certificate of the old signer any more
	for _, step := range steps {
		if step.Restart {
			cost.IstiodRestarts += replicas
		}
		if step.FileWait {
			cost.FileWaits += p.config.TrustFileWait
			if !signed {
				cost.signing += p.config.TrustFileWait
			}
		}
		if step.Waves != "" {
			cost.WorkloadRestarts += len(step.restarted(s.Proxies))
		}
		// Whoever is restarted is not waited for; where that is stale agents alone, the others are.
		if step.Waves == wavesStale || step.Waves == "" && step.expect.asksProxies() && (p.config.Back || step.Phase != Adopt && step.Phase != DropCross) {
			cost.LongestWait += within(step)
			if step.Phase != DistrustOld { // by then nobody has a certificate below it
				cost.resting += within(step)
			}
			if !signed {
				cost.signing += within(step)
			}
		}
		signed = signed || step.expect.Leaves && step.Signs == newSide
	}
	if pushed > 0 {
		if cost.Bursts = bursts(strategy, steps); cost.Bursts > 0 {
			cost.CSRs = pushed
		}
	}
	if !p.reissue { // a root that keeps its key waits for nobody
		cost.VirtualMachines = p.vmLife
	}
	if p.citadel {
		cost.LongestWait, cost.Lagging = citadelSlowest(s)
		cost.resting = citadelSpan(s) // those by SDS can be had to ask at once: the plan says how
		cost.signing = cost.resting
	}
	return cost
}

// bursts is how often a strategy has every pushed proxy ask for a certificate at once: with
// every write of another bundle, and of another layout of the same.
func bursts(strategy Strategy, steps []Step) int {
	switch strategy {
	case HotBundle, BundleByRenewal, BundleByRestart:
		return 3
	case Intermediate:
		if slices.ContainsFunc(steps, func(s Step) bool { return s.nudge != nil }) {
			return 2 // nothing else changes for proxies: there and back
		}
	case SameKey:
		return 1
	}
	return 0
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

// tooLate says so where the old CA ends before a strategy has brought everybody out
// from under it: its root, the intermediate that leaves come from, or the cross
// certificate. It is counted on the cluster's clock, which is nearer to those that judge
// than this machine's.
func (p *Plan) tooLate(s *mesh.Snapshot, cost Cost) string {
	late := func(what string, c *pki.Certificate, waits time.Duration) string {
		if c == nil || c.X509 == nil {
			return ""
		}
		left := c.X509.NotAfter.Sub(s.ClusterTime())
		if waits <= left {
			return ""
		}
		return fmt.Sprintf("the %s ends in %s, and this waits up to %s", what, left.Round(time.Minute), waits.Round(time.Minute))
	}
	why := ""
	if p.leavesRoot() {
		why = cmp.Or(late("old root", p.oldRoot, cost.resting+cost.FileWaits), late("cross certificate", p.config.Cross, cost.resting+cost.FileWaits))
	}
	if first := firstOf(p.leaving()); why == "" && first != nil {
		why = late("old intermediate "+first.Subject(), first, cost.signing)
	}
	return why
}

const (
	// leafDefault is how long a leaf lives that nobody asks otherwise of, leafMost what
	// istiods allow at most where they are not told another limit (istio 1.30.3
	// pilot/pkg/features/security.go, DEFAULT_WORKLOAD_CERT_TTL, MAX_WORKLOAD_CERT_TTL).
	leafDefault = 24 * time.Hour
	leafMost    = 90 * 24 * time.Hour
)

// leafLife is the longest that a leaf of this mesh lives.
func leafLife(s *mesh.Snapshot, vms *VMLife) time.Duration {
	var longest time.Duration
	for _, p := range s.Proxies {
		longest = max(longest, time.Duration(p.SecretTTL))
	}
	if longest == 0 {
		longest = leafDefault
	}
	if vms != nil {
		longest = max(longest, vms.Life)
	}
	return longest
}

// VMLife is how long certificates of virtual machines are taken to live. What their
// agents ask for (SECRET_TTL) cannot be seen: it may be as much as their istiods allow,
// unless the operator says otherwise.
type VMLife struct {
	Life time.Duration `json:"life"`
	// Most is what istiods allow.
	Most time.Duration `json:"most"`
	// Told is true where Life is the operator's word.
	Told bool `json:"told"`
}

// vmLife is nil where there is no virtual machine.
func vmLife(s *mesh.Snapshot, told time.Duration) *VMLife {
	if len(s.VMs) == 0 {
		return nil
	}
	v := &VMLife{}
	for _, plane := range s.ControlPlanes {
		v.Most = max(v.Most, cmp.Or(time.Duration(plane.Flags.MaxWorkloadTTL), leafMost))
	}
	v.Most = cmp.Or(v.Most, leafMost)
	v.Life, v.Told = cmp.Or(told, v.Most), told != 0
	return v
}

// String says what was counted, and why.
func (v VMLife) String() string {
	if v.Told {
		return fmt.Sprintf("certificates of virtual machines are taken to live %s, as was said (istiods allow %s)", v.Life, v.Most)
	}
	return fmt.Sprintf("certificates of virtual machines are taken to live %s, the most that istiods allow: what their agents ask for cannot be seen", v.Life)
}

// judgeVMLife refuses a word that istiods contradict: whoever asks for more than they
// allow gets no certificate.
func (p *Plan) judgeVMLife() {
	if v := p.vmLife; v != nil && v.Told && (v.Life > v.Most || v.Life < 0) {
		p.refuse("vm-certificate-life", "virtual machines", fmt.Sprintf("their certificates are said to live %s, and istiods allow %s (MAX_WORKLOAD_CERT_TTL)", v.Life, v.Most),
			"say what their agents ask for: --vm-certificate-life 24h where SECRET_TTL is not set, or leave it out")
	}
}
