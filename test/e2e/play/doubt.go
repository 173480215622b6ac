package main

import (
	"fmt"
	"strings"
	"time"
)

// Unknown is never yes: what lags, or does not answer, is named, and no rotation goes past it. The mesh stays whole.
var doubtRows = []row{
	{name: "verify-stale-configmap", about: "an immutable istio-ca-root-cert with another root in one namespace", mesh: hot, changes: true, needs: []string{"verify", "rotate"}, limit: 5 * time.Minute, play: func(g *game) string {
		stale := read(g.ca("F"), "root-cert.pem")
		// one write: between two istiod would put its own root back
		patch := fmt.Sprintf(`{"immutable":true,"data":{"root-cert.pem":%q}}`, stale)
		g.kubectl("-n", "c", "patch", "cm", "istio-ca-root-cert", "--type", "merge", "-p", patch)
		return g.saysNo("c", "istio-ca-root-cert")
	}},
	{name: "verify-unreadable-proxy", about: "a proxy that does not answer", mesh: hot, changes: true, needs: []string{"verify", "rotate"}, limit: 5 * time.Minute, play: func(g *game) string {
		p, _ := g.idle("b")
		defer g.freeze(p, "envoy")()
		return g.saysNo(p.String())
	}},
	{name: "verify-lagging-istiod", about: "a second istiod whose file does not follow the Secret", mesh: hot, changes: true, needs: []string{"verify", "rotate"}, limit: 5 * time.Minute, play: func(g *game) string {
		a, f := started(), g.ca("F")
		late := g.podsOf("istio-system", "app=istiod")[1]
		defer g.holdFile(late, "cacerts")()
		// a superset, so that the other one takes it without a restart
		g.script("setca.sh", a, g.write("roots.pem", read(a, "root-cert.pem")+read(f, "root-cert.pem")))
		first := g.podsOf("istio-system", "app=istiod")[0]
		g.until("reloaded by the first istiod", 90*time.Second, func() bool {
			return strings.Contains(g.kubectl("-n", "istio-system", "logs", first.name), "Updating new ROOT-CA")
		})
		return g.saysNo(late.name)
	}},
	// The harness's own proof, whatever the product can do: the fault above is one, and it harms no request.
	{name: "harness-lagging-istiod", about: "the fault of verify-lagging-istiod is real: one istiod has reloaded, the other has not", mesh: hot, changes: true, limit: 3 * time.Minute, play: func(g *game) string {
		a, f := started(), g.ca("F")
		istiods := g.podsOf("istio-system", "app=istiod")
		g.require(len(istiods) == 2, "harness: not two istiods")
		release := g.holdFile(istiods[1], "cacerts")
		t := startTally()
		g.script("setca.sh", a, g.write("roots.pem", read(a, "root-cert.pem")+read(f, "root-cert.pem")))
		reloaded := func(p pod) bool {
			return strings.Contains(g.kubectl("-n", "istio-system", "logs", p.name), "Updating new ROOT-CA")
		}
		g.until("reloaded by the first istiod", 90*time.Second, func() bool { return reloaded(istiods[0]) })
		late := reloaded(istiods[1])
		release()
		g.until("reloaded by the second, once it may", 2*time.Minute, func() bool { return reloaded(istiods[1]) })
		s := t.end()
		g.require(!late, "the second istiod has reloaded: its file was not held")
		g.require(s.failed == 0, s.String()+":", s.why())
		return s.String() + ", one istiod behind until it was let go"
	}},
}

// saysNo asks verify and rotate: each must stop and name the object, and no request may fail.
func (g *game) saysNo(object ...string) string {
	t := startTally()
	v := g.meshca("verify", "--csr-proof", "--timeout", "0")
	g.require(v.code == 2, "verify: exit", itoa(v.code)+":", v.brief())
	g.require(v.said(object...), "verify does not name", strings.Join(object, " ")+":", v.brief())
	r := g.meshca(g.rotate(g.ca("B"), "--trust-file-wait", "0", "--timeout", "45s")...)
	g.require(r.code == 2 || r.code == 124, "rotate: exit", itoa(r.code)+":", r.brief())
	g.require(r.said(object...), "rotate does not name", strings.Join(object, " ")+":", r.brief())
	s := t.end()
	g.require(s.failed == 0, s.String()+":", s.why())
	return fmt.Sprintf("verify 2, rotate %d, both name %s; %s", r.code, strings.Join(object, " "), s)
}
