package rotation

import (
	"fmt"
	"slices"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/pki"
)

// rootOf is the first of these roots that a CA chains to at a moment.
func rootOf(roots, chain []*pki.Certificate, at time.Time) *pki.Certificate {
	for _, candidate := range roots {
		answer := pki.Verify(pki.Question{Judge: pki.Go, Roots: []*pki.Certificate{candidate}, Chain: chain, At: at, Usage: pki.AnyUsage})
		if answer.Result == pki.Accepted {
			return candidate
		}
	}
	return nil
}

// nearestRoot is the one of these roots that a CA, the certificate that signs first, chains
// to by the fewest certificates: one that has cross-signed the CA's own root stands above it.
func nearestRoot(roots, chain []*pki.Certificate, at time.Time) (nearest *pki.Certificate) {
	best := 0
	for _, candidate := range roots {
		if rootOf([]*pki.Certificate{candidate}, chain, at) == nil {
			continue
		}
		if n := len(path(chain[0], candidate, chain[1:])); nearest == nil || n < best {
			nearest, best = candidate, n
		}
	}
	return nearest
}

// whenEnded finds a CA that was sound until it, or its root, expired. The plan goes
// on from it only where that was asked for; anything else would wait for what cannot
// come.
func (p *Plan) whenEnded(roots, chain []*pki.Certificate, now time.Time) bool {
	for _, candidate := range roots {
		ends := firstEnd(append([]*pki.Certificate{candidate}, chain...))
		if ends.IsZero() || now.Before(ends) || rootOf([]*pki.Certificate{candidate}, chain, ends.Add(-time.Second)) == nil {
			continue
		}
		object := "secret " + p.Namespace + "/" + p.Secret
		switch {
		case p.config.Back:
			p.ended, p.oldRoot = ends, candidate // nothing vouches for a way back: refuseBack says so
			return false
		case p.config.Ahead && p.config.Strategy != Recover:
			p.ahead, p.oldRoot = true, candidate
			p.warn("old-ca-ended", object, fmt.Sprintf("the old CA ended at %s, while this was under way: what is left rests on the new one alone", stamp(ends)), "go forward; there is no way back any more")
			return false
		}
		p.ended = ends
		if p.config.Strategy != Recover {
			p.refuse("ca-ended", object, fmt.Sprintf("the mesh's CA ended at %s: connections fail already, and no order of steps is without loss", stamp(ends)),
				"'kubectl meshca plan --strategy recover' says what still works and what to do; run it with 'rotate' instead of 'plan'")
			return true
		}
		p.oldRoot = candidate
		return false
	}
	return false
}

func firstEnd(certs []*pki.Certificate) (first time.Time) {
	for _, c := range certs {
		if c.X509 != nil && (first.IsZero() || c.X509.NotAfter.Before(first)) {
			first = c.X509.NotAfter
		}
	}
	return first
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// recover writes the new CA at once, and restarts what the write does not reach: the
// old root accepts nobody, so there is nothing that could be kept whole by trusting
// it longer. There is no way back, for the same reason.
//
// Istiods come first. Their webhooks are called by the API server, which judges them
// by the root in the webhook's caBundle: until istiod has written the new one there,
// no pod is injected (istio 1.30.3 pkg/webhooks/webhookpatch.go:120), and a workload
// that is restarted before may come back without its proxy, or not at all. Agents
// meet istiod by the trust ConfigMap, which an istiod writes.
func (g ground) recover() course {
	if g.p.citadel { // it answers nobody here, and publishes in Secrets alone
		return course{forward: g.citadelSameKey().forward}
	}
	waves, nudge := wavesLagging, g.nudged(g.target, g.target)
	if g.p.unwatched() {
		waves, nudge = wavesBehind, nil
	}
	return course{forward: []Step{{Phase: SwapTrust, Name: "new CA", About: "every istiod signs with the new CA, its webhooks are called by it, and every proxy has a certificate of it", Signs: newSide,
		Roots: g.target, Chain: g.plain.Raw, Restart: true, always: true, fresh: g.stale, Waves: waves, nudge: nudge, expect: g.ended(g.plain)}}}
}

// recoverPossible: it is for where nothing else is. The ways without loss have been
// weighed before it.
func (p *Plan) recoverPossible(s *mesh.Snapshot) (bool, string) {
	if !p.ended.IsZero() && p.citadel {
		return true, fmt.Sprintf("the mesh's CA ended at %s: the renewed root is written at once, Citadel is restarted and renews every Secret, Envoys follow their files", stamp(p.ended))
	}
	if !p.ended.IsZero() {
		return true, fmt.Sprintf("the mesh's CA ended at %s: the new one is written at once, istiods are restarted, then what no push reaches", stamp(p.ended))
	}
	for _, o := range p.Options {
		if o.Possible {
			return false, fmt.Sprintf("the mesh's CA holds until %s, and %s needs no loss", stamp(p.oldEnd()), o.Strategy)
		}
	}
	if left := p.oldEnd().Sub(s.ClusterTime()); left > p.leafLife+p.config.TrustFileWait {
		return false, fmt.Sprintf("the mesh's CA holds for %s: there is time to mend what is in the way of the others", left.Round(time.Minute))
	}
	return true, fmt.Sprintf("the mesh's CA ends at %s, before any way without loss would", stamp(p.oldEnd()))
}

// foretell says, to somebody in an outage, what works and what does not, and what
// this does about it.
func (p *Plan) foretell(s *mesh.Snapshot) {
	if p.Strategy != Recover {
		return
	}
	say := func(format string, args ...any) { p.Outage = append(p.Outage, fmt.Sprintf(format, args...)) }
	pushed := len(s.Proxies) - len(lagging(s))
	expired, held := 0, 0
	for _, proxy := range s.Proxies {
		switch end := leafEnd(proxy); {
		case end.IsZero():
		case s.ClusterTime().Before(end):
			held++
		default:
			expired++
		}
	}
	if p.citadel {
		p.foretellCitadel(s, say)
		return
	}
	if p.ended.IsZero() {
		say("not yet: the CA ends at %s; from the first write on, proxies that have followed and those that have not refuse each other", stamp(p.oldEnd()))
	} else {
		say("broken since %s: new connections under mTLS; %d proxies hold a certificate whose own time is not over, %d one that is", stamp(p.ended), held, expired)
	}
	say("still works: connections that are open; plain text, where PERMISSIVE lets it through; Services without a proxy")
	say("do not restart workloads by hand before istiods are proven: until then a new pod gets no proxy, or is not admitted (webhook), and a running one keeps its open connections")
	say("order: istiods, then their webhooks and trust ConfigMaps (by themselves), then %d proxies by push and %d by a restart of their workloads, in waves that honour disruption budgets", pushed, len(s.Proxies)-pushed)
	if n := len(s.VMs); n > 0 {
		say("by hand: %d virtual machines need the new root in their files and a restart of their agent", n)
	}
	say("cannot be saved: requests that fail until both ends have followed, and the open connections of the workloads that are restarted")
}

// foretellCitadel is the same of a Citadel: nothing is pushed there, and no certificate of
// a proxy can be seen but its dates.
func (p *Plan) foretellCitadel(s *mesh.Snapshot, say func(string, ...any)) {
	missing := 0
	for _, proxy := range s.Proxies {
		if proxy.Reach == mesh.ReachRestart {
			missing++
		}
	}
	if p.ended.IsZero() {
		say("not yet: the CA ends at %s", stamp(p.oldEnd()))
	} else {
		say("broken since %s: new connections under mTLS", stamp(p.ended))
	}
	say("still works: connections that are open; plain text, where it is let through; Services without a proxy")
	say("do not restart workloads by hand before the Secrets are written: until then a new pod mounts the old ones, or is not admitted (the injector's webhook)")
	say("order: Citadel, which writes its %d Secrets anew and has all Envoys follow within %s or so; then %d proxies that miss new files by a restart of their workloads, in waves that honour disruption budgets", len(s.WorkloadSecrets), citadelSpan(s), missing)
	say("by hand, afterwards: restart Galley, Pilot and the injector, which keep the root of their start: 'kubectl meshca check' names those that need it")
	if slices.ContainsFunc(s.Proxies, mesh.Proxy.BySDS) {
		say("by hand, once the Secrets are written: restart the node agents (istio=nodeagent), which trust Citadel by the root of their start and serve the proxies' certificates")
	}
	say("cannot be saved: requests that fail until both ends have followed, and open connections: of the workloads that are restarted, and of each Envoy that its agent restarts hot, once the old one ends (parentShutdownDuration, a minute)")
}

// leafEnd is when a proxy's certificate ends, zero where it was not read.
func leafEnd(p mesh.Proxy) time.Time {
	if p.Loaded == nil {
		return time.Time{}
	}
	for _, i := range p.Loaded.Identities {
		if leaf := i.Leaf(); leaf != nil && leaf.X509 != nil {
			return leaf.X509.NotAfter
		}
	}
	return time.Time{}
}
