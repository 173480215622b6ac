package main

import (
	"fmt"
	"strings"
	"time"
)

// issued is a mesh whose cacerts cert-manager's own controllers write.
var issued = &mesh{name: "cert-manager", about: "cacerts by cert-manager, Istio's default flags, 2 istiods, leaves of 2 minutes", issued: true, helm: renewing.helm}

// cert-manager writes the CA: an intermediate is renewed by it, a root is replaced while the Secret is out of its hands.
var certManagerRows = []row{
	{name: "cert-manager-renew", about: "S12-S16: another intermediate on demand, each istiod's reload proved by its answer and shown by its log", mesh: issued, needs: []string{"cert-manager"}, limit: 6 * time.Minute, play: func(g *game) string {
		was := g.kubectl("-n", "istio-system", "get", "secret", "cacerts", "-o", `jsonpath={.data.tls\.crt}`)
		before, t := g.pods(), startTally()
		o := g.meshca("cert-manager", "renew", "--yes", "--traffic-baseline", "3s", "--timeout", "5m", "-o", "json")
		detail := g.went(started(), o, t.end(), before)
		g.require(g.kubectl("-n", "istio-system", "get", "secret", "cacerts", "-o", `jsonpath={.data.tls\.crt}`) != was, "cacerts holds the certificate of before")
		for _, words := range []string{"newly added intermediate CA", "certificates are reloaded"} {
			n := strings.Count(o.out, words)
			g.require(n == 2, fmt.Sprintf("%d istiods of 2 have logged %q:", n, words), o.brief())
		}
		o = g.meshca("verify", "--csr-proof")
		g.require(o.code == 0, "verify:", o.brief())
		return detail
	}},
	{name: "cert-manager-root-seen", about: "S12, G16: another root behind the issuer is seen before it comes: check, renew and rotate say so, nothing is changed", mesh: issued, needs: []string{"cert-manager"}, play: func(g *game) string {
		g.behind("b", g.ca("B"))
		defer g.issuer("root-a")
		before := g.kubectl("-n", "istio-system", "get", "secret", "cacerts", "-o", "jsonpath={.metadata.resourceVersion}")
		o := g.meshca("check")
		g.require(o.code == 2 && strings.Contains(o.out, "cert-manager"), "check does not see it:", o.brief())
		o = g.meshca("cert-manager", "renew", "--yes")
		g.require(o.code == 2 && strings.Contains(o.err, "would bring the root"), "renew is not refused:", o.brief())
		o = g.meshca(g.rotate(g.ca("C"))...)
		g.require(o.code == 2 && strings.Contains(o.err, "cert-manager release"), "rotate does not say what to do:", o.brief())
		g.require(g.kubectl("-n", "istio-system", "get", "secret", "cacerts", "-o", "jsonpath={.metadata.resourceVersion}") == before, "cacerts has been written")
		return "seen, refused, unchanged"
	}},
	{name: "cert-manager-root", about: "S12, P4: another root behind cert-manager: released, replaced in place with a way back, returned; cacerts is there throughout", mesh: issued, changes: true, needs: []string{"cert-manager", "rotate"}, limit: 25 * time.Minute, play: func(g *game) string {
		a, b := started(), g.ca("B")
		uid := g.kubectl("-n", "istio-system", "get", "secret", "cacerts", "-o", "jsonpath={.metadata.uid}")
		before, t := g.pods(), startTally()
		must := func(args ...string) outcome {
			o := g.meshca(args...)
			g.require(o.code == 0, strings.Join(args[:2], " ")+": exit", itoa(o.code)+":", o.brief())
			return o
		}
		must("cert-manager", "release", "--dry-run=server")
		must("cert-manager", "release", "--yes")
		on := []string{"--yes", "--trust-file-wait", "0", "--traffic-baseline", "2s", "--timeout", "10m"}
		must(g.rotate(b, "--old-root-key", a+"/root-key.pem", "--trust-file-wait", "0", "--timeout", "10m", "--until", "sign-new")...)
		must(append([]string{"rollback"}, on...)...)
		g.require(g.settledOn(read(a, "root-cert.pem")), "back: the ConfigMaps do not hold the old root alone")
		must(append([]string{"rotate"}, on...)...)
		g.require(g.settledOn(read(b, "root-cert.pem")), "the ConfigMaps do not hold the new root alone")
		o := g.meshca("cert-manager", "return", "--yes")
		g.require(o.code == 2, "returned to an issuer with the old root:", o.brief())
		g.retire()
		o = g.meshca("cert-manager", "return", "--yes")
		g.require(o.code == 2 && strings.Contains(o.err, "would bring the root"), "returned to an issuer with the old root:", o.brief())
		g.behind("b", b)
		must("cert-manager", "return", "--yes", "--traffic-baseline", "2s", "--timeout", "10m")
		s := t.end()
		g.whole(s)
		g.require(g.pods() == before, "workloads were restarted")
		g.require(g.settledOn(read(b, "root-cert.pem")), "the ConfigMaps do not hold the new root alone")
		g.require(g.kubectl("-n", "istio-system", "get", "secret", "cacerts", "-o", "jsonpath={.metadata.uid}") == uid, "cacerts is another object: it was gone for a moment")
		g.require(strings.Contains(g.kubectl("-n", "istio-system", "get", "secret", "cacerts", "-o", "jsonpath={.metadata.annotations}"), "cert-manager.io/issuer-name"), "cert-manager does not write cacerts")
		must("verify", "--csr-proof")
		return fmt.Sprintf("%s, back once, the same Secret throughout", s)
	}},
}

// behind puts another root behind the issuer.
func (g *game) behind(name, dir string) {
	g.kubectl("-n", "cert-manager", "delete", "secret", "root-"+name, "--ignore-not-found")
	g.kubectl("-n", "cert-manager", "create", "secret", "tls", "root-"+name, "--cert="+dir+"/root-cert.pem", "--key="+dir+"/root-key.pem")
	g.issuer("root-" + name)
}

func (g *game) issuer(secret string) {
	g.kubectl("patch", "clusterissuer", "mesh", "--type=merge", "-p", `{"spec":{"ca":{"secretName":"`+secret+`"}}}`)
	g.kubectl("wait", "--for=condition=Ready", "clusterissuer/mesh", "--timeout=30s")
}

// retire destroys the kept copy of the old CA, by the rotation's ID.
func (g *game) retire() {
	id := g.kubectl("-n", "istio-system", "get", "secret", "meshca-staged", "-o", `jsonpath={.metadata.labels.meshca\.io/rotation}`)
	o := g.meshca("retire", "--confirm", id)
	g.require(o.code == 0, "retire:", o.brief())
}
