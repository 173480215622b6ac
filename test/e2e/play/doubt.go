package main

import (
	"fmt"
	"strings"
	"time"
)

// Unknown is never yes: what lags, or does not answer, is named, and no rotation goes past it. The mesh stays whole.
var doubtRows = []row{
	{name: "verify-stale-configmap", about: "an immutable istio-ca-root-cert with another root in one namespace", mesh: hot, changes: true, needs: []string{"verify", "rotate"}, limit: 5 * time.Minute, play: func(g *game) string {
		g.stale("c")
		return g.saysNo("c", "istio-ca-root-cert")
	}},
	{name: "verify-unreadable-proxy", about: "a proxy that does not answer", mesh: hot, changes: true, needs: []string{"verify", "rotate"}, limit: 5 * time.Minute, play: func(g *game) string {
		p, _ := g.idle("b")
		defer g.freeze(p, "envoy")()
		return g.saysNo(p.String())
	}},
	{name: "verify-lagging-istiod", about: "a second istiod whose file does not follow the Secret", mesh: hot, unrehearsed: "its istiods differ, and those of a copy start alike", changes: true, needs: []string{"verify", "rotate"}, limit: 5 * time.Minute, play: func(g *game) string {
		a, f := started(), g.ca("F")
		late := g.podsOf("istio-system", "app=istiod")[1]
		g.holdFile(late, "cacerts")
		// a superset, so that the other one takes it without a restart
		g.script("setca.sh", a, g.write("roots.pem", read(a, "root-cert.pem")+read(f, "root-cert.pem")))
		first := g.podsOf("istio-system", "app=istiod")[0]
		g.until("reloaded by the first istiod", 90*time.Second, func() bool {
			return strings.Contains(g.logs(first), "Updating new ROOT-CA")
		})
		return g.saysNo(late.name)
	}},
	{name: "harness-stale-configmap", about: "the fault of verify-stale-configmap is real: istiod cannot mend it", mesh: hot, changes: true, limit: 3 * time.Minute, play: func(g *game) string {
		stale := g.stale("c")
		t := startTally()
		g.sign(started(), g.write("roots.pem", read(started(), "root-cert.pem")+stale))
		g.until("the bundle in the other namespaces", time.Minute, func() bool { return g.root("a") != g.root("c") && strings.Count(g.root("a"), "BEGIN") == 2 })
		g.until("both roots in every proxy", time.Minute, func() bool { return g.every(func(l loaded) bool { return len(l.roots) == 2 }) })
		g.require(g.root("c") == stale, "the ConfigMap did not stay as it was")
		s := t.end()
		g.whole(s)
		return s.String() + ", c keeps another root than a and b"
	}},
	// The harness's own proof, whatever the product can do: the fault above is one, and it harms no request.
	{name: "harness-lagging-istiod", about: "the fault of verify-lagging-istiod is real: one istiod has reloaded, the other has not", mesh: hot, changes: true, limit: 3 * time.Minute, play: func(g *game) string {
		a, f := started(), g.ca("F")
		istiods := g.podsOf("istio-system", "app=istiod")
		g.require(len(istiods) == 2, "harness: not two istiods")
		g.holdFile(istiods[1], "cacerts")
		t := startTally()
		g.script("setca.sh", a, g.write("roots.pem", read(a, "root-cert.pem")+read(f, "root-cert.pem")))
		reloaded := func(p pod) bool {
			return strings.Contains(g.logs(p), "Updating new ROOT-CA")
		}
		g.until("reloaded by the first istiod", 90*time.Second, func() bool { return reloaded(istiods[0]) })
		// the proxies that got the bundle from the one get the old root back with a leaf from the other: nobody may stop trusting
		late := reloaded(istiods[1])
		g.kubectl("-n", "istio-system", "delete", "pod", istiods[1].name, "--wait=false")
		g.until("both roots in every proxy, once the late one is replaced", time.Minute, func() bool { return g.every(func(l loaded) bool { return len(l.roots) == 2 }) })
		s := t.end()
		g.require(!late, "the second istiod has reloaded: its file was not held")
		g.whole(s)
		return s.String() + ", one istiod behind until its pod was replaced"
	}},
}

// stale puts another root into a namespace's trust ConfigMap, where it stays.
func (g *game) stale(ns string) string {
	root := read(g.ca("F"), "root-cert.pem")
	// one write: between two istiod would put its own root back
	g.kubectl("-n", ns, "patch", "cm", "istio-ca-root-cert", "--type", "merge", "-p", fmt.Sprintf(`{"immutable":true,"data":{"root-cert.pem":%q}}`, root))
	return root
}

func (g *game) root(ns string) string {
	return g.kubectl("-n", ns, "get", "cm", "istio-ca-root-cert", "-o", `jsonpath={.data.root-cert\.pem}`)
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
	g.whole(s)
	return fmt.Sprintf("verify 2, rotate %d, both name %s; %s", r.code, strings.Join(object, " "), s)
}
