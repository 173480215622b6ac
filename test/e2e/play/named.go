package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// What stands in a rotation's way is named, and closes what it must close and nothing else.
var namedRows = []row{
	{name: "verify-leftover", about: "an istio-ca-secret that no istiod signs with: a warning, and verify still says yes", mesh: hot, needs: []string{"verify", "check"}, play: func(g *game) string {
		f := g.ca("F")
		g.kubectl("-n", "istio-system", "create", "secret", "generic", "istio-ca-secret", "--type=istio.io/ca-root", "--from-file=ca-cert.pem="+f+"/root-cert.pem", "--from-file=ca-key.pem="+f+"/root-key.pem")
		defer g.kubectl("-n", "istio-system", "delete", "secret", "istio-ca-secret")
		v := g.meshca("verify", "--csr-proof")
		g.require(v.code == 0, "verify: exit", itoa(v.code)+":", v.brief())
		c, strict := g.meshca("check", "-o", "json"), g.meshca("check", "--fail-on", "warning")
		g.require(c.code == 0 && c.said("leftover-ca", "istio-ca-secret"), "check does not warn of it: exit", itoa(c.code)+":", c.brief())
		g.require(strict.code == 2, "check --fail-on warning: exit", itoa(strict.code))
		return "verify 0; check 0 and names istio-ca-secret; check --fail-on warning 2"
	}},
	{name: "verify-webhook-old-ca", about: "a webhook that calls istiod, with another root in its caBundle", mesh: hot, needs: []string{"verify", "rotate"}, limit: 3 * time.Minute, play: func(g *game) string {
		// istiod mends those of its own revision at once: this one is of a revision that nobody keeps any more
		const name = "istio-sidecar-injector-old"
		var config map[string]any
		g.require(json.Unmarshal([]byte(g.kubectl("get", "mutatingwebhookconfiguration", "istio-sidecar-injector", "-o", "json")), &config) == nil, "harness: no injector")
		root := []byte(read(g.ca("F"), "root-cert.pem"))
		config["metadata"] = map[string]any{"name": name, "labels": map[string]string{"app": "sidecar-injector", "istio.io/rev": "old"}}
		for _, w := range config["webhooks"].([]any) {
			w := w.(map[string]any)
			w["clientConfig"].(map[string]any)["caBundle"] = root
			w["namespaceSelector"] = map[string]any{"matchLabels": map[string]string{"istio.io/rev": "old"}}
			w["objectSelector"] = map[string]any{}
		}
		text, _ := json.Marshal(config)
		g.pipe(string(text), "kubectl", "create", "-f", "-")
		defer g.kubectl("delete", "mutatingwebhookconfiguration", name)
		return g.saysNo(name)
	}},
	{name: "verify-flag-off", about: `a pod with PROXY_CONFIG_XDS_AGENT "false" gets no changed bundle`, mesh: hot, unrehearsed: "it only plans", changes: true, needs: []string{"verify", "rotate"}, limit: 5 * time.Minute, play: func(g *game) string {
		a, f := started(), g.ca("F")
		g.idle("b")
		g.kubectl("-n", "b", "patch", "deploy", "idle", "-p", `{"spec":{"template":{"metadata":{"annotations":{"proxy.istio.io/config":"{\"proxyMetadata\":{\"PROXY_CONFIG_XDS_AGENT\":\"false\"}}"}}}}}`)
		g.kubectl("-n", "b", "rollout", "status", "deploy/idle", "--timeout=60s")
		g.until("one idle pod", time.Minute, func() bool { return len(g.podsOf("b", "app=idle")) == 1 })
		p := g.podsOf("b", "app=idle")[0]
		hot := g.meshca(g.rotate(g.ca("B"), "--strategy", "hot-bundle", "--dry-run")...)
		g.require(hot.code == 2 && hot.said(p.name), "hot-bundle: exit", itoa(hot.code)+", and not by name:", hot.brief())
		both := g.write("roots.pem", read(a, "root-cert.pem")+read(f, "root-cert.pem"))
		g.script("setca.sh", a, both)
		g.until("both roots in every other proxy", time.Minute, func() bool {
			n := 0
			for _, l := range g.envoys() {
				if len(l.roots) == 2 {
					n++
				}
			}
			return n == 2*len(namespaces)
		})
		v := g.meshca("verify", "--csr-proof", "--timeout", "0", "-o", "json")
		g.require(v.code == 2 && v.said(p.name), "verify: exit", itoa(v.code)+", and not by name:", v.brief())
		for _, other := range []string{"client-", "server-"} {
			g.require(!strings.Contains(g.meshca("verify", "--timeout", "0").err, other), "verify names others too")
		}
		return "hot-bundle refused, verify 2, each by the pod's name"
	}},
	{name: "rotate-twin-no-ski", about: "a new root with the old one's name and no subject key identifier: refused before anything is written", mesh: hot, needs: []string{"rotate", "ca"}, play: func(g *game) string {
		dir, before := g.twin(), g.version()
		o := g.meshca(g.rotate(dir, "--trust-file-wait", "0", "--timeout", "30s")...)
		g.require(o.code == 2, "exit", itoa(o.code)+":", o.brief())
		g.require(o.said("CN=root A"), "it does not name the root:", o.brief())
		g.require(g.version() == before, "cacerts was written")
		return "exit 2: " + o.brief()
	}},
	{name: "distrust-one-old-leaf", about: "one agent is stopped and keeps its old leaf: the old root stays until it has another", mesh: hot, unrehearsed: "an agent is stopped in the middle", changes: true, needs: []string{"rotate"}, limit: 5 * time.Minute, play: func(g *game) string {
		a, b := started(), g.ca("B")
		p, _ := g.idle("b")
		t := startTally()
		first := g.meshca(g.rotate(b, "--trust-file-wait", "0", "--timeout", "1m", "--until", "trust-new")...)
		g.require(first.code == 0, "rotate --until trust-new: exit", itoa(first.code)+":", first.brief())
		thaw := g.freeze(p, "pilot-agent")
		defer thaw()
		on := []string{"rotate", "--yes", "--trust-file-wait", "0", "--traffic-baseline", "2s", "--timeout", "45s"}
		o := g.meshca(on...)
		g.require(o.code == 124 && o.said(p.name, "sign-new"), "exit", itoa(o.code)+", and not by name:", o.brief())
		for _, ns := range namespaces {
			g.require(strings.Contains(g.root(ns), read(a, "root-cert.pem")), "the old root has left", ns)
		}
		thaw()
		o = g.meshca(slices.Concat(on[:len(on)-1], []string{"2m"})...)
		g.require(o.code == 0, "carried on: exit", itoa(o.code)+":", o.brief())
		s := t.end()
		g.whole(s)
		g.require(g.settledOn(read(b, "root-cert.pem")), "the ConfigMaps do not hold the new root alone")
		return "124 in sign-new, by the pod's name, the old root still trusted everywhere; then 0; " + s.String()
	}},
	{name: "traffic-rise", about: "requests that begin to fail in the middle close the gate, by client and server; when they do not any more, it goes on", mesh: hot, unrehearsed: "real traffic is not rehearsed", changes: true, needs: []string{"rotate"}, limit: 5 * time.Minute, play: func(g *game) string {
		b := g.ca("B")
		p := g.start(g.rotate(b, "--trust-file-wait", "0", "--timeout", "40s", "--soak", "8s", "-o", "json")...)
		p.until(g, "the write of trust-new", time.Minute, func(e event) bool {
			return e.Kind == "write" && e.Phase == "trust-new" && strings.HasSuffix(e.Object, "/cacerts")
		})
		plain := g.write("plain.yaml", `{apiVersion: networking.istio.io/v1, kind: DestinationRule, metadata: {name: plain, namespace: b}, spec: {host: server.b.svc.cluster.local, trafficPolicy: {tls: {mode: DISABLE}, connectionPool: {http: {maxRequestsPerConnection: 1}}}}}`)
		g.kubectl("apply", "-f", plain)
		_, code := p.end(g, 2*time.Minute)
		g.require(code == 124, "it went on over failing requests: exit", itoa(code)+":", p.last().Message)
		g.require(strings.Contains(p.last().Message, "a/client-") && strings.Contains(p.last().Message, "b/server-"), "it does not name client and server:", p.last().Message)
		g.kubectl("delete", "-f", plain)
		g.require(quiet(g.ctx) == nil, "harness: the clients' requests do not settle")
		t := startTally()
		o := g.meshca("rotate", "--yes", "--trust-file-wait", "0", "--traffic-baseline", "2s", "--timeout", "2m")
		g.require(o.code == 0, "carried on: exit", itoa(o.code)+":", o.brief())
		s := t.end()
		g.whole(s)
		g.holds(b, true)
		return "124: " + clip(p.last().Message, 120) + "; then 0, " + s.String()
	}},
	{name: "traffic-idle", about: "a mesh without any request: no evidence, said so, and no obstacle", mesh: hot, changes: true, needs: []string{"rotate"}, limit: 4 * time.Minute, play: func(g *game) string {
		for _, ns := range namespaces {
			g.kubectl("-n", ns, "scale", "deploy/client", "--replicas=0")
		}
		for _, ns := range namespaces {
			g.kubectl("-n", ns, "wait", "--for=delete", "pod", "-l", "app=client", "--timeout=60s")
		}
		b := g.ca("B")
		o := g.meshca(g.rotate(b, "--trust-file-wait", "0", "-o", "json")...)
		g.require(o.code == 0, "rotate: exit", itoa(o.code)+":", o.brief())
		g.require(o.said("traffic is no evidence"), "it does not say that nothing was seen")
		g.require(g.settledOn(read(b, "root-cert.pem")), "the ConfigMaps do not hold the new root alone")
		return fmt.Sprintf("exit 0, traffic named as no evidence, engine %s s", figure(o, "engineSeconds"))
	}},
}

// twin is a CA whose root has the name of the mesh's own, another key, and no subject key identifier.
func (g *game) twin() string {
	dir := filepath.Join(g.dir, "twin")
	g.require(os.MkdirAll(dir, 0o700) == nil, "harness: cannot make", dir)
	g.must("openssl", "req", "-newkey", "rsa:2048", "-nodes", "-keyout", dir+"/root-key.pem", "-out", dir+"/root.csr", "-subj", "/O=e2e/CN=root A")
	g.must("openssl", "x509", "-req", "-in", dir+"/root.csr", "-signkey", dir+"/root-key.pem", "-days", "3650", "-out", dir+"/root-cert.pem",
		"-extfile", g.write("root.ext", "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\nsubjectKeyIdentifier=none\nauthorityKeyIdentifier=none\n"))
	g.must("openssl", "req", "-newkey", "rsa:2048", "-nodes", "-keyout", dir+"/ca-key.pem", "-out", dir+"/ca.csr", "-subj", "/O=e2e/CN=intermediate twin")
	g.must("openssl", "x509", "-req", "-in", dir+"/ca.csr", "-CA", dir+"/root-cert.pem", "-CAkey", dir+"/root-key.pem", "-CAcreateserial", "-days", "730", "-out", dir+"/ca-cert.pem",
		"-extfile", g.write("ca.ext", "basicConstraints=critical,CA:TRUE,pathlen:0\nkeyUsage=critical,keyCertSign,cRLSign\nsubjectKeyIdentifier=hash\nauthorityKeyIdentifier=none\n"))
	g.write("twin/cert-chain.pem", read(dir, "ca-cert.pem")+read(dir, "root-cert.pem"))
	g.require(!strings.Contains(g.must("openssl", "x509", "-in", dir+"/root-cert.pem", "-noout", "-text"), "Subject Key Identifier"), "harness: the twin has a subject key identifier")
	return dir
}
