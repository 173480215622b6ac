package rotation

import (
	"fmt"
	"slices"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
)

// weigh lays every strategy out, and picks the first that is possible in the order
// that the reason asks for, or the one that was asked for.
func (p *Plan) weigh(s *mesh.Snapshot, ca mesh.CASource) {
	g := p.ground(s, ca)
	p.recast(g, s)
	for _, strategy := range p.Reason.preference() {
		if p.outOfPlace(strategy) {
			continue
		}
		o := Option{Strategy: strategy}
		var c course
		begun := (p.config.Back || p.ahead) && p.config.Strategy == strategy
		if o.Possible, o.Why = p.possible(g, s, strategy); begun {
			o.Possible, o.Why = true, "it is how this rotation began"
		}
		if o.Possible {
			c = g.lay(strategy)
			cost := p.cost(s, strategy, c)
			o.Cost = &cost
			switch why := p.tooLate(s, cost); {
			case why == "" || p.config.Back || p.config.Ahead || strategy == Recover:
			case p.config.Underway && p.config.Strategy == strategy:
				p.warn("too-late", "strategy "+string(strategy), why+": but it is under way, and to stay half-way is no better", "restart the workloads that lag; if the old CA ends first, 'kubectl meshca rotate --strategy recover' takes it from there")
			default:
				o.Possible, o.Why = false, why
			}
		}
		if o.Possible && p.Strategy == "" && p.asks(strategy) {
			p.Strategy, p.Why, p.Cost = strategy, o.Why, *o.Cost
			p.Steps, p.Back = c.forward, c.back
			p.baseline, p.target = g.baseline(), c.forward[len(c.forward)-1].expect
		}
		p.Options = append(p.Options, o)
	}
	if p.Strategy == "" {
		if p.refuseOffPath(s) {
			return
		}
		for _, o := range p.Options {
			if p.asks(o.Strategy) {
				p.refuse("no-"+string(o.Strategy), "strategy "+string(o.Strategy), o.Why, remedy(s, o.Strategy))
			}
		}
		return
	}
	if p.config.Begun != "" && p.Strategy == Recover {
		c := g.lay(p.config.Begun)
		p.begun = slices.Concat(c.forward, c.back)
	}
	p.refuseEarlyFiles(s)
	p.revisions(s)
	p.workloads(s)
	p.expose(s)
	p.foretell(s)
	if p.staysStatic() && !p.config.Back {
		p.Afterwards = append(p.Afterwards, p.static())
	}
}

// recast has a hot rotation that is under way go on by renewal, where somebody has come
// in the middle whom no push reaches: the same writes in the same order, behind which
// istiods are restarted and renewals are waited for.
func (p *Plan) recast(g ground, s *mesh.Snapshot) {
	if !p.config.Resumed || p.config.Back || p.config.Strategy != HotBundle {
		return
	}
	hot, why := p.possible(g, s, HotBundle)
	if hot {
		return
	}
	for _, strategy := range []Strategy{BundleByRenewal, BundleByRestart} {
		if ok, _ := p.possible(g, s, strategy); ok {
			p.config.Strategy = strategy
			p.warn("colder", "strategy "+string(strategy), "it began as "+string(HotBundle)+", and goes on so: "+why, "nothing is lost: the writes are the same, they take longer")
			return
		}
	}
}

func remedy(s *mesh.Snapshot, strategy Strategy) string {
	switch strategy {
	case HotBundle:
		if pushesNone(s) {
			return "upgrade istiods and proxies to 1.20.1 or later, for no setting of theirs will do, or choose another strategy"
		}
		return "set ISTIO_MULTIROOT_MESH=true on istiod and PROXY_CONFIG_XDS_AGENT=true in the proxies' metadata (one restart of each), or choose another strategy"
	case CrossSign:
		return "give the old root's key with --old-root-key FILE, or a cross certificate made offline ('kubectl meshca ca cross-sign') with --cross-cert FILE"
	case Intermediate:
		return "give a CA under the root that the mesh trusts already, or replace the root too"
	case SameKey:
		return "rotate to a new CA: --new-ca, or --root, --ca-cert and --ca-key"
	case Recover:
		return "choose a strategy without loss: leave --strategy out"
	case BundleByRenewal:
		return "shorten SECRET_TTL, or restart workloads with --strategy bundle-by-restart"
	}
	return "mend what is named, or take it out of the mesh first"
}

// possible says whether a strategy can be run on this mesh without a failed
// request, and why, or why not.
func (p *Plan) possible(g ground, s *mesh.Snapshot, strategy Strategy) (bool, string) {
	p.hurries = false
	if strategy == SameKey || strategy == Recover {
		return p.renewPossible(g, s, strategy)
	}
	if !p.ended.IsZero() {
		return false, "the old CA ended at " + stamp(p.ended) + ": its root vouches for nothing any more"
	}
	if p.reissue {
		return false, "the new root is the old one with its own key: there is no second key to move to"
	}
	sameRoot := p.oldRoot.Equal(p.config.New.Roots.Certs[0])
	if sameRoot != (strategy == Intermediate) {
		if sameRoot {
			return false, "the root stays: nothing has to be trusted anew"
		}
		return false, "the new CA hangs from another root"
	}
	if strategy == Intermediate && p.Reason == Compromised {
		return false, "the same root would go on vouching for whatever the leaked key has signed"
	}
	if why := unreached(s); why != "" {
		return false, why
	}
	switch strategy {
	case Intermediate:
		return true, p.underSameRoot(g, s)
	case HotBundle:
		return p.hotPossible(s)
	case CrossSign:
		return p.crossPossible(g, s)
	case BundleByRenewal:
		return p.renewalPossible(g, s)
	}
	n := len(lagging(s))
	if n == 0 {
		return true, "every proxy is reached by push: no workload has to be restarted"
	}
	return true, fmt.Sprintf("%d of %d proxies are not reached by push: the workloads of these are restarted in waves, no other", n, len(s.Proxies))
}

// lagging are the proxies that no push reaches, or that must be started anew.
func lagging(s *mesh.Snapshot) []mesh.Proxy {
	return slices.DeleteFunc(slices.Clone(s.Proxies), func(p mesh.Proxy) bool { return p.Reach == mesh.ReachPush && !stale(p) })
}

func how(hot bool, s *mesh.Snapshot) string {
	if n := len(lagging(s)); !hot || n > 0 {
		return fmt.Sprintf("by renewal (%d of %d proxies)", n, len(s.Proxies))
	}
	return "by push, in seconds"
}

// pushesNone: an istiod or an agent is of a release that no flag makes hot.
func pushesNone(s *mesh.Snapshot) bool {
	return slices.ContainsFunc(s.ControlPlanes, func(plane mesh.ControlPlane) bool { return !mesh.TakesRoots(plane.Version) }) ||
		slices.ContainsFunc(s.Proxies, func(p mesh.Proxy) bool { return p.Kind != mesh.Ztunnel && stale(p) })
}

// hotPossible says besides what it costs.
func (p *Plan) hotPossible(s *mesh.Snapshot) (bool, string) {
	why := notHot(s)
	switch {
	case why != "":
		return false, why
	case len(s.Proxies) == 0:
		why = "there is no proxy, and every istiod loads a changed root in place"
	default:
		why = fmt.Sprintf("all %d proxies get a changed bundle by push: seconds", len(s.Proxies))
	}
	switch {
	case p.Reason == Compromised:
		why += "; istiods restart once, or they would go on taking clients' certificates of the old root"
	case len(s.Proxies) > 0:
		why += ", no restart"
	}
	return true, why
}

// notHot says what keeps a bundle change from reaching every proxy by push, which re-issues
// its leaf (both flags, istiod and agent from 1.20.0; 1.20.1 so that agents
// re-read their trust file); "" where nothing does.
func notHot(s *mesh.Snapshot) string {
	for _, plane := range s.ControlPlanes {
		name := plane.Namespace + "/" + plane.Name
		if !plane.Flags.MultiRoot {
			return name + " runs without ISTIO_MULTIROOT_MESH: it refuses a changed root until it restarts"
		}
		if !mesh.TakesRoots(plane.Version) {
			return fmt.Sprintf("%s is %s: a changed root is loaded in place from 1.20.0 on", name, plane.Version)
		}
	}
	for _, p := range s.Proxies {
		if p.Reach != mesh.ReachPush {
			return fmt.Sprintf("%s gets no push (%s: %s)", p.Ref(), p.Reach, p.ReachWhy)
		}
	}
	if len(s.VMs) > 0 {
		return fmt.Sprintf("virtual machines (%s/%s, %d in all) are judged by a verifier that only a restart of istiod renews", s.VMs[0].Namespace, s.VMs[0].Name, len(s.VMs))
	}
	return ""
}

func (p *Plan) crossPossible(g ground, s *mesh.Snapshot) (bool, string) {
	if p.config.Cross == nil {
		return false, "there is no cross certificate, and the old root's key is not at hand to make one"
	}
	for _, proxy := range s.Proxies {
		if proxy.Reach == mesh.ReachRestart {
			return false, fmt.Sprintf("%s is only known to follow when it is restarted (%s)", proxy.Ref(), proxy.ReachWhy)
		}
	}
	if istiod, ztunnel := inOnePiece(s); istiod != "" {
		return false, fmt.Sprintf("istiod %s puts all that stands above a certificate into one piece, of which ztunnel %s reads the first: it would not send the cross certificate", istiod, ztunnel)
	}
	restarts := "no restart of workloads"
	if g.stale {
		restarts = "only workloads with agents before 1.20.1 are restarted"
	}
	return true, "the old root vouches for the new one: no flags, " + restarts + "; leaves renew on their own and istiod restarts once"
}

// inOnePiece is the release of an istiod whose answers have the whole chain in one element, of
// which a ztunnel reads the first certificate alone (istio 1.24.3 security/pkg/server/ca/
// server.go; an element for each since 1.24.4 and 1.25.1), and the ztunnel.
func inOnePiece(s *mesh.Snapshot) (istiod, ztunnel string) {
	i := slices.IndexFunc(s.Proxies, func(p mesh.Proxy) bool { return p.Kind == mesh.Ztunnel })
	if i < 0 {
		return "", ""
	}
	for _, plane := range s.ControlPlanes {
		if v := plane.Version; mesh.Before(v, "1.24.4") || !mesh.Before(v, "1.25.0") && mesh.Before(v, "1.25.1") {
			return v, s.Proxies[i].Ref()
		}
	}
	return "", ""
}

func (p *Plan) renewalPossible(g ground, s *mesh.Snapshot) (bool, string) {
	for _, proxy := range s.Proxies {
		switch {
		case proxy.Reach == mesh.ReachRestart:
			return false, fmt.Sprintf("%s is only known to follow when it is restarted (%s)", proxy.Ref(), proxy.ReachWhy)
		case stale(proxy):
			release, _ := proxy.ReleaseOf()
			return false, fmt.Sprintf("%s runs %s, which reads the new root for its requests to istiod at its start alone", proxy.Ref(), release)
		}
	}
	if p.Reason == Compromised {
		return false, "the leaked key would stay trusted for two renewals of every proxy"
	}
	istiod := ""
	if !g.hotRoots {
		istiod = "; istiod restarts twice"
	}
	if n := len(lagging(s)); n > 0 {
		return true, fmt.Sprintf("%d of %d proxies follow with their next certificates, no workload is restarted%s", n, len(s.Proxies), istiod)
	}
	return true, "every proxy is reached by push: none has to wait for its next certificate" + istiod
}

// underSameRoot says how certificates of another intermediate come about, and has
// workloads restarted where the old one does not hold until the last has renewed.
func (p *Plan) underSameRoot(g ground, s *mesh.Snapshot) string {
	text := "the root stays: only the signer changes; "
	if leaving := p.leaving(); len(leaving) > 0 {
		late := lagging(s)
		if left := p.hurry(s, leaving, late, 0); p.hurries {
			return text + fmt.Sprintf("the old intermediate ends in %s, so %d of %d proxies that would renew later are restarted in waves", left.Round(time.Minute), len(late), len(s.Proxies))
		}
	}
	return text + "leaves follow " + how(g.hotRoots, s)
}

// refuseEarlyFiles: without the wait for pods' trust files an agent that never reads
// them again would be cut off from istiod.
func (p *Plan) refuseEarlyFiles(s *mesh.Snapshot) {
	if p.config.TrustFileWait > 0 || p.Strategy == Intermediate || p.citadel {
		return
	}
	for _, proxy := range s.Proxies {
		if stale(proxy) {
			release, _ := proxy.ReleaseOf()
			p.refuse("trust-file-wait", "proxy "+proxy.Ref(), "it runs "+release+", which does not read its trust file again after a failed request", "leave --trust-file-wait at its default")
			return
		}
	}
}

// expose says what a leaked key can still do, and until when.
func (p *Plan) expose(s *mesh.Snapshot) {
	if p.Reason != Compromised {
		return
	}
	end := DistrustOld
	if p.Strategy == CrossSign || p.Strategy == Recover {
		end = SwapTrust
	}
	p.Exposed = append(p.Exposed,
		fmt.Sprintf("until %s is proven (at most %s from the first write, if nothing lags) whoever has the old key can sign certificates that the mesh accepts", end, (p.Cost.LongestWait+p.Cost.FileWaits).Round(time.Minute)),
		"connections that are open by then stay open: they were judged when they were made; end them by restarting what holds them",
		"nothing is revoked: Istio's proxies ask no CRL unless ca-crl.pem is distributed",
		"the old key stays in secret "+p.Namespace+"/"+stagedName+" until 'kubectl meshca retire'")
	if p.Adopts {
		p.Exposed = append(p.Exposed, "the old key stays in secret "+p.Namespace+"/"+p.source+" too, which nothing here deletes")
	}
	if len(p.Kept) > 0 {
		p.Exposed = append(p.Exposed, fmt.Sprintf("%d other roots stay in the bundle", len(p.Kept)))
	}
}
