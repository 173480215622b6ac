package mesh_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/pki"
	"github.com/meshca/kubectl-meshca/pkg/proxy"
)

// TestS28_Identities: Secrets, Envoys and ztunnels tell of one identity together,
// and what does not belong to it is said.
func TestS28_Identities(t *testing.T) {
	root, _, objects := oldMesh(t)
	c, _ := collector(nil, objects...)
	s := collect(t, c)
	leaf := s.WorkloadSecrets[0].Chain[0] // of a/default
	serial := leaf.X509.SerialNumber.Text(16)
	other := newAuthority(t, "elsewhere", root).cert
	context := proxy.Context{LeafSerial: serial, SPIFFE: "spiffe://cluster.local/ns/a/sa/default", LeafUntil: clock.Add(time.Hour)}
	mounted := func(name string) mesh.Proxy {
		return mesh.Proxy{Namespace: "a", Name: name, Kind: mesh.Sidecar, Loaded: &proxy.Loaded{Evidence: proxy.EvidenceCerts, Contexts: []proxy.Context{context, context, {LeafSerial: "cafe"}}}}
	}
	s.Proxies = []mesh.Proxy{
		mounted("one"), mounted("two"), {Namespace: "a", Name: "mute", ServiceAccount: "web", Error: "refused"},
		{Namespace: "b", Name: "stranger", Loaded: &proxy.Loaded{Evidence: proxy.EvidenceConfigDump, Identities: []proxy.Identity{{SPIFFE: other.SPIFFE(), Chain: []*pki.Certificate{other}}}}},
		{Namespace: "z", Name: "zt", Kind: mesh.Ztunnel, Loaded: &proxy.Loaded{Identities: []proxy.Identity{
			{SPIFFE: "spiffe://cluster.local/ns/c/sa/amb", Chain: []*pki.Certificate{other}}, {SPIFFE: "nonsense", Chain: []*pki.Certificate{other}},
		}}},
	}
	var said []string
	for _, i := range mesh.Identities(s) {
		for _, h := range i.Certificates {
			said = append(said, fmt.Sprintf("%s %s in %q by %q: %s", i.SPIFFE, h.Serial, h.Secret, h.Pods, h.Fault))
		}
		for _, u := range i.Unread {
			said = append(said, i.SPIFFE+" unread "+u)
		}
	}
	got := strings.Join(said, "\n")
	for _, want := range []string{
		`spiffe://cluster.local/ns/a/sa/default ` + serial + ` in "istio.default" by ["a/one" "a/two"]:`, // P4: pods that share one
		`spiffe://cluster.local/ns/a/sa/web unread a/mute`,
		`spiffe://cluster.local/ns/b/sa/default 7 in "istio.default" by ["b/stranger"]: it is made out to spiffe://cluster.local/ns/a/sa/`,
		`spiffe://cluster.local/ns/c/sa/amb 7 in "" by ["z/zt"]:`,
		`spiffe://cluster.local/ns/b/sa/broken 7 in "istio.broken" by []: root-cert.pem:`,
	} {
		if !strings.Contains(got, want) {
			t.Errorf("%s is not in\n%s", want, got)
		}
	}
	if strings.Contains(got, "cafe") {
		t.Error("a credential without an identity counts")
	}
}

// TestS31_Link: who connects to the control plane, by which files and to whom.
func TestS31_Link(t *testing.T) {
	by := func(tls proxy.ControlPlaneTLS) mesh.Proxy {
		return mesh.Proxy{Loaded: &proxy.Loaded{ControlPlane: &tls}}
	}
	vm := by(proxy.ControlPlaneTLS{Agent: true})
	vm.ProvCert, vm.CAAddr = "/etc/prov", "istiod-canary.istio-system.svc:15012"
	for name, test := range map[string]struct {
		p    mesh.Proxy
		want mesh.Link
	}{
		"unread": {mesh.Proxy{}, mesh.Link{}},
		"Citadel": {by(proxy.ControlPlaneTLS{Address: "istio-pilot:15011", TLS: true, CertificatePath: "/etc/certs/cert-chain.pem", RootPath: "/etc/certs/root-cert.pem", SANs: []string{"spiffe://a", "spiffe://b"}}),
			mesh.Link{Via: "envoy", Address: "istio-pilot:15011", Secured: true, Credential: "/etc/certs/cert-chain.pem", Root: "/etc/certs/root-cert.pem", Names: "spiffe://a,spiffe://b"}},
		"not secured": {by(proxy.ControlPlaneTLS{Address: "istio-pilot:15010"}), mesh.Link{Via: "envoy", Address: "istio-pilot:15010"}},
		"agent": {by(proxy.ControlPlaneTLS{Agent: true}), mesh.Link{Via: "agent", Address: "istiod.istio-system.svc:15012", Secured: true,
			Credential: "./var/run/secrets/tokens/istio-token", Root: "./var/run/secrets/istio/root-cert.pem", Names: "istiod.istio-system.svc"}},
		"agent with a certificate": {vm, mesh.Link{Via: "agent", Address: "istiod-canary.istio-system.svc:15012", Secured: true,
			Credential: "/etc/prov/cert-chain.pem", Root: "/etc/prov/root-cert.pem", Names: "istiod-canary.istio-system.svc"}},
	} {
		if got := mesh.LinkOf(test.p); got != test.want {
			t.Errorf("%s: %+v", name, got)
		}
	}
}
