package rotation

import (
	"fmt"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
)

// options weighs every strategy and picks the first that is possible, or the one
// that was asked for.
func (p *Plan) options(s *mesh.Snapshot) {
	hot, why := hotEverywhere(s)
	p.Options = append(p.Options, Option{HotBundle, hot, why})
	cross, why := p.crossPossible(s)
	p.Options = append(p.Options, Option{CrossSign, cross, why})
	for _, o := range p.Options {
		if o.Possible && (p.config.Strategy == "" || p.config.Strategy == o.Strategy) {
			p.Strategy, p.Why = o.Strategy, o.Why
			return
		}
	}
	for _, o := range p.Options {
		if p.config.Strategy == "" || p.config.Strategy == o.Strategy {
			p.refuse("no-"+string(o.Strategy), "strategy "+string(o.Strategy), o.Why, remedy(o.Strategy))
		}
	}
}

func remedy(s Strategy) string {
	if s == HotBundle {
		return "set ISTIO_MULTIROOT_MESH=true on istiod and PROXY_CONFIG_XDS_AGENT=true in the proxies' metadata (one restart of each), or cross-sign"
	}
	return "give the old root's key with --old-root-key FILE, or a cross certificate made offline ('kubectl meshca ca cross-sign') with --cross-cert FILE"
}

// hotEverywhere: a bundle change reaches every proxy by push, and re-issues its
// leaf (istio-facts D2: both flags, istiod and agent from 1.20.0; 1.20.1 so that
// agents re-read their trust file).
func hotEverywhere(s *mesh.Snapshot) (bool, string) {
	for _, plane := range s.ControlPlanes {
		name := plane.Namespace + "/" + plane.Name
		if !plane.Flags.MultiRoot {
			return false, name + " runs without ISTIO_MULTIROOT_MESH: it refuses a changed root until it restarts"
		}
		if mesh.Before(plane.Version, "1.20.0") {
			return false, fmt.Sprintf("%s is %s: a changed root is loaded in place from 1.20.0 on", name, plane.Version)
		}
	}
	for _, p := range s.Proxies {
		switch p.Reach {
		case mesh.ReachPush:
		default:
			return false, fmt.Sprintf("%s gets no push (%s: %s)", p.Ref(), p.Reach, p.ReachWhy)
		}
	}
	if len(s.VMs) > 0 {
		return false, fmt.Sprintf("virtual machines (%s/%s, %d in all) are judged by a verifier that only a restart of istiod renews", s.VMs[0].Namespace, s.VMs[0].Name, len(s.VMs))
	}
	if len(s.Proxies) == 0 {
		return true, "there is no proxy, and every istiod loads a changed root in place"
	}
	return true, fmt.Sprintf("all %d proxies get a changed bundle by push: seconds, no restart", len(s.Proxies))
}

func (p *Plan) crossPossible(s *mesh.Snapshot) (bool, string) {
	if p.config.Cross == nil {
		return false, "there is no cross certificate, and the old root's key is not at hand to make one"
	}
	for _, plane := range s.ControlPlanes {
		if !plane.Flags.AutoReload {
			return false, plane.Namespace + "/" + plane.Name + " does not watch its CA files: a changed signer would need a restart"
		}
	}
	for _, proxy := range s.Proxies {
		if proxy.Reach != mesh.ReachPush && proxy.Reach != mesh.ReachRenewal {
			return false, fmt.Sprintf("%s does not follow by renewal (%s: %s)", proxy.Ref(), proxy.Reach, proxy.ReachWhy)
		}
		if release, _ := proxy.ReleaseOf(); mesh.Before(release, "1.20.1") {
			return false, fmt.Sprintf("%s runs %s: agents before 1.20.1 never read the new root for their requests to istiod, and lose their certificate after the cross certificate is dropped: restart it with a newer proxy first", proxy.Ref(), release)
		}
	}
	if len(s.VMs) > 0 {
		return false, fmt.Sprintf("virtual machines (%s/%s, %d in all) are not known to have followed", s.VMs[0].Namespace, s.VMs[0].Name, len(s.VMs))
	}
	return true, "the old root vouches for the new one: no flags, no restart of workloads; leaves renew on their own and istiod restarts once"
}

// cost states what the rotation asks of the mesh.
func (p *Plan) cost(s *mesh.Snapshot) {
	if len(p.Steps) == 0 {
		return
	}
	p.Cost.CSRs = len(s.Proxies)
	for _, step := range p.Steps {
		if step.Restart {
			for _, plane := range s.ControlPlanes {
				p.Cost.IstiodRestarts += int(plane.Desired)
			}
		}
		if step.FileWait {
			p.Cost.FileWaits += p.config.TrustFileWait
		}
	}
	switch p.Strategy {
	case HotBundle:
		// Every write of another bundle re-issues every leaf.
		p.Cost.Bursts = 3
	case CrossSign:
		var longest time.Duration
		for _, proxy := range s.Proxies {
			ttl := time.Duration(proxy.SecretTTL)
			if ttl <= 0 {
				ttl = 24 * time.Hour // SECRET_TTL's default (istio 1.30.3 pkg/security options)
			}
			if ttl > longest {
				longest = ttl
				p.Cost.Lagging = []string{proxy.Ref()}
			} else if ttl == longest && len(p.Cost.Lagging) < 5 {
				p.Cost.Lagging = append(p.Cost.Lagging, proxy.Ref())
			}
		}
		// Renewal comes at half of the life and its jitter; twice: for the leaf and
		// for the root that comes with the next one.
		p.Cost.LongestWait = 2 * (longest/2 + longest/50)
		p.Cost.CSRs = 0
	}
	if p.oldRoot != nil && p.oldRoot.X509 != nil {
		if left := p.oldRoot.X509.NotAfter.Sub(s.TakenAt); p.Cost.LongestWait+p.Cost.FileWaits > left {
			p.refuse("root-expires-first", "root "+p.oldRoot.Subject(), fmt.Sprintf("it expires in %s, and this strategy waits up to %s", left.Round(time.Minute), p.Cost.LongestWait+p.Cost.FileWaits),
				"shorten SECRET_TTL, or choose a strategy that pushes (hot-bundle)")
		}
	}
}
