package main

import (
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"strings"
	"time"
)

// citadel is a mesh of Istio 1.4 or before: a root of a year with 10 days left, 1 Citadel, certificates in mounted Secrets.
var citadel = &mesh{name: "citadel", about: "a real Citadel and its pilot-agents over this Envoy, a root of a year that ends in 10 days", citadel: true}

var citadelRows = []row{
	{name: "citadel-read", about: "S9: what is read of a Citadel, its Secrets and its proxies is so; a stale Secret is named, and no longer once Citadel has written it", mesh: citadel, unrehearsed: "a mesh of a Citadel is not copied", limit: 5 * time.Minute, play: func(g *game) string {
		root := read(started(), "root-cert.pem")
		secrets := g.keyAndCerts()
		for ref, held := range secrets {
			g.require(held == root, "harness:", ref, "holds another root")
		}
		release := g.pipe("", "kubectl", "-n", "istio-system", "get", "deploy", "istio-citadel", "-o", "jsonpath={.spec.template.spec.containers[0].image}")
		_, release, _ = strings.Cut(release, ":")
		o := g.meshca("check")
		g.require(o.code == 2 && o.said("the CA is a Citadel", "O=cluster.local ends in 9 days"), "check: exit", itoa(o.code)+":", o.brief())
		o = g.meshca("verify")
		table := strings.Join(strings.Fields(o.out), " ")
		g.require(o.code == 0 && strings.Contains(table, "proxies 6 6 ") && strings.Contains(table, fmt.Sprintf("workload Secrets %d %d ", len(secrets), len(secrets))), "verify: exit", itoa(o.code)+":", o.brief())
		o = g.meshca("certs")
		g.require(o.said("spiffe://cluster.local/ns/c/sa/server"), "certs:", o.brief())
		o = g.meshca("versions")
		g.require(o.code == 0 && strings.Count(o.out, release) >= 2, "versions does not name", release+":", o.brief())
		o = g.meshca("envoy", "--root", started()+"/root-cert.pem")
		g.require(o.code == 0, "envoy: exit", itoa(o.code)+":", o.brief())
		o = g.meshca("envoy", "--root", g.ca("B")+"/root-cert.pem")
		g.require(o.code == 2, "envoy, another root: exit", itoa(o.code)+":", o.brief())
		o = g.meshca(g.rotate(g.ca("B"), "--untested")...)
		g.require(o.code == 2 && o.said("a root of another key"), "rotate to another key is not refused: exit", itoa(o.code)+":", o.brief())
		g.staleSecret()
		return fmt.Sprintf("release %s, %d Secrets, 6 proxies; the stale one named", release, len(secrets))
	}},
	{name: "citadel-same-key", about: "S6, S9, S11: the root renewed in place with its own key through the product, Citadel restarted by its Deployment, Envoys by their agents; and back", mesh: citadel, unrehearsed: "a mesh of a Citadel is not copied", changes: true, needs: []string{"rotate"}, limit: 20 * time.Minute, play: func(g *game) string {
		old := read(started(), "root-cert.pem")
		key, uid := g.caSecret("ca-key.pem"), g.caUID()
		before, t := g.pods(), startTally()
		o := g.meshca("rotate", "--strategy", "same-key", "--yes", "--traffic-baseline", "2s", "-o", "json")
		renewed := g.caSecret("ca-cert.pem")
		g.require(o.code == 0, "rotate: exit", itoa(o.code)+":", o.brief())
		g.onRoot(renewed)
		g.require(renewed != old && g.caSecret("ca-key.pem") == key && g.caUID() == uid, "the Secret was not changed in place, its key is another or its certificate is not")
		names := g.pipe(old, "openssl", "x509", "-noout", "-subject", "-ext", "subjectKeyIdentifier,basicConstraints,keyUsage")
		g.require(g.pipe(renewed, "openssl", "x509", "-noout", "-subject", "-ext", "subjectKeyIdentifier,basicConstraints,keyUsage") == names, "name or extensions have changed:", names)
		v := g.meshca("verify")
		g.require(v.code == 0, "verify: exit", itoa(v.code)+":", v.brief())
		b := g.meshca("rollback", "--yes", "--traffic-baseline", "2s")
		g.require(b.code == 0, "rollback: exit", itoa(b.code)+":", b.brief())
		g.onRoot(old)
		time.Sleep(70 * time.Second) // the Envoys of before end a minute after their successors' start
		s := t.end()
		g.whole(s)
		g.require(g.pods() == before, "workloads were restarted")
		return fmt.Sprintf("%s, there %s s by the engine, and back; no pod of a workload restarted", s, figure(o, "engineSeconds"))
	}},
	{name: "control-citadel", about: "Istio 1.4's root-transition.sh with another key: istio-ca-secret deleted, Citadel restarted, which makes a root of its own", mesh: citadel, unrehearsed: "a mesh of a Citadel is not copied", changes: true, limit: 6 * time.Minute, play: func(g *game) string {
		t := startTally()
		g.kubectl("-n", "istio-system", "delete", "secret", "istio-ca-secret")
		g.kubectl("-n", "istio-system", "rollout", "restart", "deploy/istio-citadel")
		g.kubectl("-n", "istio-system", "rollout", "status", "deploy/istio-citadel", "--timeout=120s")
		g.settled(t, 4*time.Minute)
		return g.broken(t.end())
	}},
}

// keyAndCerts are the roots of every Secret of Citadel's, read without the product.
func (g *game) keyAndCerts() map[string]string {
	all := map[string]string{}
	for line := range strings.Lines(g.kubectl("get", "secrets", "-A", "--field-selector", "type=istio.io/key-and-cert", "-o",
		`jsonpath={range .items[*]}{.metadata.namespace}/{.metadata.name} {.data.root-cert\.pem}{"\n"}{end}`)) {
		ref, encoded, _ := strings.Cut(strings.TrimSpace(line), " ")
		text, err := base64.StdEncoding.DecodeString(encoded)
		g.require(err == nil, "harness:", ref)
		all[ref] = string(text)
	}
	g.require(len(all) >= 9, "harness: of Citadel's Secrets only", itoa(len(all)), "are there")
	return all
}

func (g *game) caSecret(entry string) string {
	return g.pipe(g.kubectl("-n", "istio-system", "get", "secret", "istio-ca-secret", "-o", "jsonpath={.data."+strings.ReplaceAll(entry, ".", `\.`)+"}"), "base64", "-d")
}

func (g *game) caUID() string {
	return g.kubectl("-n", "istio-system", "get", "secret", "istio-ca-secret", "-o", "jsonpath={.metadata.uid}")
}

// onRoot requires that every Secret holds this root, and every Envoy, by its own word, has loaded it.
func (g *game) onRoot(root string) {
	for ref, held := range g.keyAndCerts() {
		g.require(held == root, ref, "holds another root")
	}
	block, _ := pem.Decode([]byte(root))
	g.require(block != nil, "harness: no root")
	cert, err := x509.ParseCertificate(block.Bytes)
	g.require(err == nil, "harness: the root does not parse")
	serial := cert.SerialNumber.Text(16)
	for _, ns := range namespaces {
		for line := range strings.Lines(g.kubectl("-n", ns, "get", "pods", "-o", `jsonpath={range .items[*]}{.metadata.name}{"\n"}{end}`)) {
			pod := strings.TrimSpace(line)
			var certs struct {
				Certificates []struct {
					CA []struct {
						Serial string `json:"serial_number"`
					} `json:"ca_cert"`
				}
			}
			raw := g.kubectl("-n", ns, "exec", pod, "-c", "istio-proxy", "--", "pilot-agent", "request", "GET", "certs")
			raw = raw[max(0, strings.IndexByte(raw, '{')):] // the agent may log before it
			g.require(json.Unmarshal([]byte(raw), &certs) == nil && len(certs.Certificates) > 0, "harness:", ns+"/"+pod, "answers", clip(raw, 80))
			for _, c := range certs.Certificates {
				for _, ca := range c.CA {
					g.require(strings.TrimLeft(ca.Serial, "0") == serial, ns+"/"+pod, "has loaded", ca.Serial+", not", serial)
				}
			}
		}
	}
	config := g.kubectl("-n", "istio-system", "get", "configmap", "istio-security", "-o", "jsonpath={.data.caTLSRootCert}")
	text, _ := base64.StdEncoding.DecodeString(config)
	g.require(bytes.Equal(bytes.TrimSpace(text), bytes.TrimSpace([]byte(root))), "istio-security holds another root")
}

// staleSecret gives a service account without pods a Secret with another root, in a namespace that Citadel is told to leave alone.
func (g *game) staleSecret() {
	g.kubectl("create", "namespace", "spare")
	defer g.kubectl("delete", "namespace", "spare")
	g.until("issued for", time.Minute, func() bool { return g.run("", "kubectl", "-n", "spare", "get", "secret", "istio.default").code == 0 })
	g.kubectl("label", "namespace", "spare", "ca.istio.io/override=false")
	other := base64.StdEncoding.EncodeToString([]byte(read(g.ca("B"), "root-cert.pem")))
	g.kubectl("-n", "spare", "patch", "secret", "istio.default", "--type=merge", "-p", `{"data":{"root-cert.pem":"`+other+`"}}`)
	o := g.meshca("verify")
	g.require(o.code == 2 && o.said("spare/istio.default"), "verify does not name it: exit", itoa(o.code)+":", o.brief())
	o = g.meshca("check")
	g.require(o.code == 2 && o.said("spare/istio.default"), "check does not name it: exit", itoa(o.code)+":", o.brief())
	g.kubectl("label", "namespace", "spare", "ca.istio.io/override-")
	g.until("written anew by Citadel", 100*time.Second, func() bool { return g.meshca("verify").code == 0 })
}
