package rotation

import (
	"slices"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/pki"
)

// course is a strategy laid out on one mesh: what is written, in order, each with
// its gate, and the way back.
type course struct {
	forward, back []Step
}

// ground is what every course of a plan is laid out from.
type ground struct {
	p  *Plan
	ca mesh.CASource
	// start is the bundle that is trusted now, target what it becomes; all holds
	// both.
	start, target []byte
	old, new, all []*pki.Certificate
	// plain is what the new CA sends behind a leaf, crossed the same with the cross
	// certificate.
	plain, crossed pki.Bundle
	// hotRoots and hotSigner: every istiod loads a changed bundle, or a changed
	// signer, in place.
	hotRoots, hotSigner bool
	// pushes: some istiod loads a changed bundle in place, and pushes it.
	pushes bool
	// static: somebody is judged by the verifier that istiod makes at its start.
	static bool
	// stale: some agent reads its roots at its start alone.
	stale bool
	// files: some agent writes its certificate for others to read.
	files bool
}

func (p *Plan) ground(s *mesh.Snapshot, ca mesh.CASource) ground {
	newCA := p.config.New
	g := ground{p: p, ca: ca, start: ca.Root.Raw, old: ca.Root.Certs, hotRoots: true, hotSigner: true, static: len(s.VMs) > 0}
	if g.target = g.start; !p.oldRoot.Equal(newCA.Roots.Certs[0]) {
		g.target = replaceRoot(ca.Root, p.oldRoot, p.oldBeside, newCA.Roots.Certs[0])
	}
	g.new = mustCerts(g.target)
	// Another mesh's roots, and a second one of ours, come with the new CA's file.
	for _, c := range newCA.Roots.Certs[1:] {
		if !pki.NewSet(g.new...).Has(c) {
			g.target = join(g.target, c.PEM())
			g.new = append(g.new, c)
		}
	}
	g.all = mustCerts(join(g.start, g.target))
	g.plain = pki.NewBundle(append([]*pki.Certificate{newCA.Cert}, newCA.Chain...)...)
	if p.config.Cross != nil {
		g.crossed = pki.NewBundle(append(slices.Clone(g.plain.Certs), p.config.Cross)...)
	}
	for _, plane := range s.ControlPlanes {
		roots, signer := inPlace(plane)
		g.hotRoots, g.hotSigner, g.pushes = g.hotRoots && roots, g.hotSigner && signer, g.pushes || roots
	}
	for _, proxy := range s.Proxies {
		g.static = g.static || proxy.ProvCert != ""
		g.stale = g.stale || stale(proxy)
		g.files = g.files || proxy.OutputCerts != ""
	}
	return g
}

// lay lays a strategy out. It does not ask whether it is possible.
func (g ground) lay(strategy Strategy) course {
	c := g.steps(strategy)
	if !g.hotRoots {
		warm := g
		warm.hotRoots, warm.pushes = true, true
		w := warm.steps(strategy)
		warmer(c.forward, w.forward)
		warmer(c.back, w.back)
	}
	for _, steps := range [][]Step{c.forward, c.back} {
		for i := range steps {
			steps[i].cold = strategy != Intermediate && (!g.hotRoots || strategy == CrossSign)
			steps[i].unpushed = steps[i].expect.Leaves && steps[i].nudge == nil && resigns(steps, i)
		}
	}
	if g.p.Adopts && strategy != Recover {
		c.forward = slices.Insert(c.forward, 0, g.adopt())
	}
	for i := range c.forward {
		c.forward[i].expect.crls = crlsNone
	}
	for i := range c.back[:max(len(c.back)-1, 0)] {
		c.back[i].expect.crls = crlsPass
	}
	return c
}

// steps are those of a strategy, one way and the other.
func (g ground) steps(strategy Strategy) course {
	switch strategy {
	case Intermediate:
		return g.intermediate()
	case CrossSign:
		return g.crossSign()
	case HotBundle, BundleByRenewal, BundleByRestart:
		return g.bundle(strategy)
	case SameKey:
		return g.sameKey()
	case Recover:
		return g.recover()
	}
	return course{}
}

// warmer gives each step the layouts that the steps of its phase and signer write on a
// warmer mesh, which has more of them.
func warmer(steps, warm []Step) {
	for i := range steps {
		for _, w := range warm {
			if w.Phase != steps[i].Phase || w.Signs != steps[i].Signs {
				continue
			}
			for _, roots := range [][]byte{w.Roots, w.nudge} {
				if roots != nil {
					steps[i].warmer = append(steps[i].warmer, roots)
				}
			}
		}
	}
}

// resigns reports whether a step asks for certificates of another signer, or with
// another chain, than the one before it.
func resigns(steps []Step, i int) bool {
	e := steps[i].expect
	if i == 0 {
		return true
	}
	before := steps[i-1].expect
	return !before.Leaves || !e.Signer.Equal(before.Signer)
}

// expect is an expectation with what all of this plan's share.
func (g ground) expect(change func(*Expectation)) Expectation {
	e := Expectation{CSRProof: g.p.config.CSRProof, unserved: g.p.unserved}
	change(&e)
	return e
}

// baseline is the mesh as it must be before anything is changed.
func (g ground) baseline() Expectation {
	if g.p.citadel {
		return Expectation{Citadel: true, Roots: g.old, Trusted: g.old}
	}
	return g.expect(func(e *Expectation) {
		e.Roots, e.Trusted, e.Accepted, e.Signer, e.crls = g.old, g.old, g.old, g.ca.Cert.Certs[0], crlsNone
	})
}

// restored is the mesh as it must be at the end of the way back.
func (g ground) restored() Expectation {
	return g.expect(func(e *Expectation) {
		e.Roots, e.Trusted, e.Only, e.Accepted, e.Signer, e.Leaves = g.old, g.old, true, g.old, g.ca.Cert.Certs[0], true
		e.Gone = without(g.all, g.old)
	})
}

// ended is the mesh as it must be at the end, but for the chain.
func (g ground) ended(chain pki.Bundle) Expectation {
	return g.expect(func(e *Expectation) {
		e.Roots, e.Trusted, e.Only, e.Accepted, e.Signer, e.Leaves, e.Behind = g.new, g.new, true, g.new, g.p.config.New.Cert, true, chain.Certs
		e.Gone = without(g.all, g.new)
	})
}

// last is the phase that the way back ends in.
func (g ground) last() Phase {
	if g.p.Adopts {
		return Adopt
	}
	return Prepare
}

// nudged is a layout of the same roots for istiods that load it in place; nil where
// there is none of these. The others go on with the layout that they have: it is the
// same set, and it is written only once every one of them is proven.
func (g ground) nudged(parts ...[]byte) []byte {
	if !g.pushes {
		return nil
	}
	return join(parts...)
}

// bundle trusts both roots for a while. Signer and nudge never share a write: with
// a bundle that a replica refuses it would refuse the signer too, and one that has
// loaded would push while requests still land on one that has not.
//
// A leaked key is out of power only once istiods have been started without its root: by the
// roots of their start they judge the certificates of clients, and give whoever shows one
// another of the same identity, signed by the new CA (istio 1.30.3
// pilot/pkg/bootstrap/server.go:785 and :1075, security/pkg/server/ca/authenticate/cert_authenticator.go).
func (g ground) bundle(strategy Strategy) course {
	p, oldSigner, leaked := g.p, g.ca.Cert.Certs[0], g.p.Reason == Compromised
	lagging, leaving := waves(""), waves("")
	if strategy == BundleByRestart {
		lagging = wavesLagging
		if leaked {
			leaving = wavesLagging
		}
	}
	files := g.files && strategy == BundleByRestart
	both := join(g.start, g.target)
	pushed := g.nudged(both, g.target)
	leaves := both
	if g.hotRoots {
		leaves = pushed
	}
	steps := []Step{{Phase: TrustNew, Name: "both roots", About: "every proxy trusts the old and the new root; the old CA signs", Signs: oldSide, Roots: both,
		Restart: !g.hotRoots || g.static, always: g.static, FileWait: true, Waves: lagging, fresh: g.stale, files: files, nudge: pushed,
		expect: g.expect(func(e *Expectation) { e.Roots, e.Trusted, e.Accepted, e.Signer = g.all, g.all, g.all, oldSigner })}}
	if g.hotRoots {
		steps = append(steps, Step{Phase: SignNew, Name: "signer", About: "every istiod signs with the new CA", Signs: newSide, Roots: both, Chain: g.plain.Raw, Restart: !g.hotSigner,
			expect: g.expect(func(e *Expectation) { e.Roots, e.Signer, e.Behind = g.all, p.config.New.Cert, g.plain.Certs })})
	}
	steps = append(steps,
		Step{Phase: SignNew, Name: "leaves", About: "every proxy has a certificate of the new CA", Signs: newSide, Roots: leaves, Chain: g.plain.Raw, Restart: !g.hotSigner, Waves: lagging, files: files,
			nudge: g.nudged(leaves, g.target), expect: g.expect(func(e *Expectation) {
				e.Roots, e.Trusted, e.Accepted, e.Signer, e.Leaves, e.Behind = g.all, g.all, g.new, p.config.New.Cert, true, g.plain.Certs
			})},
		Step{Phase: DistrustOld, Name: "new root", About: "no proxy trusts the old root", Signs: newSide, Roots: g.target, Chain: g.plain.Raw, Restart: !g.hotRoots || leaked, always: leaked, Waves: leaving,
			nudge: g.nudged(g.target, g.target), expect: g.ended(g.plain)})

	var oldLeaves []byte
	if !g.hotRoots {
		oldLeaves = g.nudged(leaves, g.target)
	}
	back := []Step{
		{Phase: SignNew, Name: "both roots again", About: "every proxy trusts the old root too; the new CA still signs", Signs: newSide, Roots: leaves, Chain: g.plain.Raw,
			Restart: !g.hotRoots || g.static, always: g.static, FileWait: true, Waves: lagging, fresh: g.stale, files: files, nudge: g.nudged(leaves, g.target),
			expect: g.expect(func(e *Expectation) { e.Roots, e.Trusted, e.Accepted = g.all, g.all, g.all })},
		{Phase: TrustNew, Name: "old signer", About: "every istiod signs with the old CA", Signs: oldSide, Roots: leaves, Restart: !g.hotSigner, Waves: lagging, files: files && !g.hotRoots, nudge: oldLeaves,
			expect: g.expect(func(e *Expectation) {
				e.Signer = oldSigner
				if !g.hotRoots {
					e.Leaves, e.Accepted = true, g.old
				}
			})},
	}
	if g.hotRoots {
		again := join(leaves, g.start)
		back = append(back, Step{Phase: TrustNew, Name: "old leaves", About: "every proxy has a certificate of the old CA", Signs: oldSide, Roots: again, Waves: lagging, files: files, nudge: join(again, g.start),
			expect: g.expect(func(e *Expectation) { e.Signer, e.Leaves, e.Accepted = oldSigner, true, g.old })})
		steps[0].back = len(back) - 1
	}
	back = append(back, Step{Phase: g.last(), Name: "old root", About: "the old CA is the mesh's alone, as before", Signs: oldSide, Roots: g.start, Restart: !g.hotRoots, Waves: leaving,
		nudge: g.nudged(g.start, g.start), expect: g.restored()})
	return course{steps, back}
}

// crossSign has the old root vouch for the new one until all trust it.
func (g ground) crossSign() course {
	newCert := g.p.config.New.Cert
	restarts := waves("")
	if g.stale {
		restarts = wavesStale
	}
	steps := []Step{
		{Phase: SignNew, Name: "cross-signed chain", About: "every proxy has a certificate of the new CA, for which the old root vouches", Signs: newSide, Roots: g.start, Chain: g.crossed.Raw,
			Restart: !g.hotSigner, expect: g.expect(func(e *Expectation) {
				e.Roots, e.Trusted, e.Accepted, e.InForce, e.Signer, e.Leaves, e.Behind = g.old, g.old, g.new, g.old, newCert, true, g.crossed.Certs
			})},
		{Phase: SwapTrust, Name: "new root", About: "every proxy trusts the new root instead of the old", Signs: newSide, Roots: g.target, Chain: g.crossed.Raw,
			Restart: true, always: g.p.Reason == Compromised, FileWait: true, fresh: g.stale, Waves: restarts, expect: g.ended(g.crossed)},
		{Phase: DropCross, Name: "plain chain", About: "istiods send the cross certificate no more", Signs: newSide, Roots: g.target, Chain: g.plain.Raw,
			Restart: !g.hotSigner, expect: g.ended(g.plain)},
	}
	back := []Step{
		{Phase: SwapTrust, Name: "cross-signed chain again", About: "every certificate comes with the old root's word again", Signs: newSide, Roots: g.target, Chain: g.crossed.Raw,
			Restart: !g.hotSigner, expect: g.expect(func(e *Expectation) { e.Signer, e.Leaves, e.Behind, e.Accepted = newCert, true, g.crossed.Certs, g.old })},
		{Phase: SignNew, Name: "old root", About: "every proxy trusts the old root; the new CA still signs", Signs: newSide, Roots: g.start, Chain: g.crossed.Raw,
			Restart: true, FileWait: true, fresh: g.stale, Waves: restarts, expect: g.expect(func(e *Expectation) {
				// Whose certificate it is does not matter any more: who goes back from the very first
				// write does not wait until everybody has one of the CA that he leaves.
				e.Roots, e.Trusted, e.Accepted, e.Signer, e.Behind = g.old, g.old, g.old, newCert, g.crossed.Certs
			})},
		{Phase: g.last(), Name: "old signer", About: "the old CA is the mesh's alone, as before", Signs: oldSide, Roots: g.start, Restart: !g.hotSigner, expect: g.restored()},
	}
	return course{steps, back}
}

// intermediate changes the signer under a root that everybody trusts.
func (g ground) intermediate() course {
	nudge, restarts := g.nudged(g.start, g.start), waves("")
	if g.p.hurries {
		restarts = wavesLagging
	}
	return course{
		[]Step{{Phase: SignNew, Name: "intermediate", About: "every proxy has a certificate of the new intermediate, under the same root", Signs: newSide, Roots: g.start, Chain: g.plain.Raw,
			Restart: !g.hotSigner, Waves: restarts, nudge: nudge, expect: g.expect(func(e *Expectation) {
				e.Roots, e.Trusted, e.Accepted, e.Signer, e.Leaves, e.Behind = g.old, g.old, g.old, g.p.config.New.Cert, true, g.plain.Certs
			})}},
		[]Step{{Phase: g.last(), Name: "old signer", About: "the old intermediate signs, as before", Signs: oldSide, Roots: g.start, Restart: !g.hotSigner, nudge: nudge, expect: g.restored()}},
	}
}

// adopt moves the self-signed pair to cacerts, so that the way back is a state and
// not a deletion, and starts the watcher, which istiod has only with a plugged CA
// (istio 1.30.3 pilot/pkg/bootstrap/istio_ca.go:563).
func (g ground) adopt() Step {
	return Step{Phase: Adopt, Name: "self-signed pair", About: "istiod signs with the same pair, from cacerts, which it watches from now on", Signs: oldSide, Roots: g.start,
		Restart: true, always: true, expect: g.baseline()}
}

// stale reports whether a proxy reads the roots for its requests to istiod at its
// start alone: agents before 1.20.1, ztunnels before 1.28.6 and 1.29.2. What is not known
// is not stale: its gate proves it.
func stale(p mesh.Proxy) bool {
	release, atLeast := p.ReleaseOf()
	if release == "" || atLeast {
		return false
	}
	if p.Kind == mesh.Ztunnel {
		return mesh.Before(release, "1.28.6") || !mesh.Before(release, "1.29.0") && mesh.Before(release, "1.29.2")
	}
	return !mesh.RereadsRoots(release)
}
