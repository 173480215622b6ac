package main

import (
	"fmt"
	"strings"
	"time"
)

// A rotation by push: both flags, no restart, no failed request.
var hotRows = []row{
	{name: "hot-foreign-root", about: "hot-bundle where a root that is not ours stands in the bundle: it is still trusted afterwards", mesh: hot, changes: true, needs: []string{"rotate"}, limit: 5 * time.Minute, play: func(g *game) string {
		a, f, b := started(), g.ca("F"), g.ca("B")
		// the foreign root in the middle of nothing: before the old one, which leaves the bundle later
		both := read(f, "root-cert.pem") + read(a, "root-cert.pem")
		g.script("setca.sh", a, g.write("roots.pem", both))
		g.until("both roots in every namespace", time.Minute, func() bool { return g.roots() == both })
		detail := g.rotatesWhole(b)
		want := read(f, "root-cert.pem") + read(b, "root-cert.pem")
		g.require(sorted(g.roots()) == sorted(want), "the ConfigMaps do not hold the foreign and the new root alone")
		if has(g.ctx, "envoy") {
			o := g.meshca("envoy", "--root", g.write("want.pem", want))
			g.require(o.code == 0, "not every proxy trusts both:", o.brief())
		}
		return detail
	}},
	{name: "hot-tls-secret", about: "cacerts of type kubernetes.io/tls, which somebody made by hand: changed in place", mesh: hot, changes: true, needs: []string{"rotate"}, limit: 5 * time.Minute, play: func(g *game) string {
		a, b := started(), g.ca("B")
		g.kubectl("-n", "istio-system", "delete", "secret", "cacerts")
		g.kubectl("-n", "istio-system", "create", "secret", "generic", "cacerts", "--type=kubernetes.io/tls",
			"--from-file=tls.crt="+a+"/ca-cert.pem", "--from-file=tls.key="+a+"/ca-key.pem", "--from-file=ca.crt="+a+"/root-cert.pem")
		g.kubectl("-n", "istio-system", "rollout", "restart", "deploy/istiod")
		g.kubectl("-n", "istio-system", "rollout", "status", "deploy/istiod", "--timeout=120s")
		g.until("proven with the other layout", time.Minute, func() bool { return g.meshca("verify", "--csr-proof").code == 0 })
		detail := g.rotatesWhole(b)
		g.require(g.settledOn(read(b, "root-cert.pem")), "the ConfigMaps do not hold the new root alone")
		return detail
	}},
	{name: "hot-2-replicas", about: "hot-bundle, two istiods", mesh: hot, smoke: true, changes: true, needs: []string{"rotate"}, limit: 5 * time.Minute, play: func(g *game) string {
		b := g.ca("B")
		detail := g.rotatesWhole(b)
		g.require(g.settledOn(read(b, "root-cert.pem")), "the ConfigMaps do not hold the new root alone")
		return detail
	}},
}

// rotatesWhole rotates to the CA in dir while the clients call: no request may fail and no pod may be replaced or restarted.
func (g *game) rotatesWhole(dir string, more ...string) string {
	before, t := g.pods(), startTally()
	o := g.meshca(g.rotate(dir, append([]string{"--trust-file-wait", "0", "-o", "json"}, more...)...)...)
	s := t.end()
	g.require(o.code == 0, "rotate: exit", itoa(o.code)+":", o.brief())
	g.whole(s)
	g.require(g.pods() == before, "workloads were restarted")
	return fmt.Sprintf("%s, engine %s s, no restart", s, figure(o, "engineSeconds"))
}

// roots is what the trust ConfigMaps hold, where they all hold the same bytes.
func (g *game) roots() string {
	first := ""
	for i, ns := range append([]string{"istio-system"}, namespaces...) {
		text := g.root(ns)
		if i > 0 && text != first {
			return "they differ"
		}
		first = text
	}
	return first
}

// settledOn: a rotation is over when everybody trusts the right roots. Where they were sent once more in another layout, istiod
// publishes that they are laid out as before a moment later.
func (g *game) settledOn(bundle string) bool {
	return g.within(20*time.Second, func() bool { return g.roots() == bundle })
}

func sorted(bundle string) string {
	const end = "-----END CERTIFICATE-----\n"
	parts := strings.SplitAfter(bundle, end)
	for i := range parts {
		for j := range i {
			if parts[i] < parts[j] {
				parts[i], parts[j] = parts[j], parts[i]
			}
		}
	}
	return strings.Join(parts, "")
}
