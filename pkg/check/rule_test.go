package check_test

import (
	"bytes"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"math/big"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/check"
	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/pki"
	"github.com/meshca/kubectl-meshca/pkg/proxy"
	"github.com/meshca/kubectl-meshca/test/envoys/pairs"
)

const (
	isInfo    = pki.SeverityInfo
	isWarning = pki.SeverityWarning
	isError   = pki.SeverityError
)

func TestAMeshInGoodOrderPasses(t *testing.T) {
	report := newWorld(t).run()
	for _, f := range report.Findings {
		if f.Severity != isInfo || f.Category != check.Release && f.Category != check.MTLS {
			t.Errorf("%s %s: %s: %s", f.Severity, f.ID, f.Object, f.Message)
		}
	}
	if len(report.Skipped) > 0 || len(report.Passed) != len(check.Rules()) {
		t.Errorf("%d passed, skipped: %v", len(report.Passed), report.Skipped)
	}
	if len(report.Ends) != 2 || report.Ends[0].Role != "signer" || report.Ends[0].Days != 730 || report.Ends[1].Days != 3650 {
		t.Errorf("ends: %+v", report.Ends)
	}
}

// TestEveryRuleIsSeenFailing breaks one thing of a mesh in good order at a time.
func TestEveryRuleIsSeenFailing(t *testing.T) {
	hints, err := os.ReadFile("../../docs/hints.md")
	if err != nil {
		t.Fatal(err)
	}
	first := func(w *world) *mesh.Proxy { return &w.s.Proxies[0] }
	forbidden := func(part, resource string) func(*world) {
		return func(w *world) {
			w.s.Gaps = append(w.s.Gaps, mesh.Gap{Part: part, Verb: "list", Resource: resource, Error: "forbidden"})
		}
	}
	unseen := map[string]bool{}
	for _, rule := range check.Rules() {
		unseen[rule.ID] = true
	}
	for _, test := range []struct {
		name     string
		spoil    func(*world)
		rule, id string
		severity pki.Severity
		says     string
	}{
		{"pods unread", forbidden("pods of all namespaces", "pods"), "unread", "unread", isError, "may list pods"},
		{"secrets unread", forbidden("secret istio-system/cacerts", "secrets"), "unread", "unread", isWarning, "may list secrets"},
		{"no istiod", func(w *world) { w.s.ControlPlanes = nil }, "control-plane", "no-istiod", isError, ""},
		{"no replica", func(w *world) { w.plane().Replicas = nil }, "control-plane", "no-replica", isError, ""},
		{"rollout", func(w *world) { w.plane().Settled = false }, "control-plane", "istiod-rollout", isWarning, ""},

		{"istiod splits bundles", func(w *world) { w.plane().Replicas[1].Version = "1.24.4" }, "istiod-release", "bundle-split", isError, "1.24.4"},
		{"istiod unknown", func(w *world) {
			w.plane().Version, w.plane().Replicas[0].Version = "", ""
		}, "istiod-release", "release-unknown", isWarning, "neither its image nor itself"},
		{"istiod unknown in a rollout", func(w *world) { w.plane().Settled, w.plane().Replicas[0].Version = false, "" }, "istiod-release", "release-unknown", isWarning, ""},
		{"proxy connected to nobody", func(w *world) { w.plane().Replicas[1].Clients = []proxy.Client{{Proxy: "b/p2"}} }, "proxies-connected", "proxy-disconnected", isWarning, "b/p1"},
		{"nobody connected", func(w *world) {
			for i := range w.plane().Replicas {
				w.plane().Replicas[i].Clients = []proxy.Client{}
			}
		}, "proxies-connected", "proxy-disconnected", isWarning, "4 proxies"},
		{"proxy behind", func(w *world) { w.plane().Replicas[0].Clients[1].Behind = []string{"clusters", "routes"} }, "proxies-connected", "proxy-behind", isWarning, "last clusters, routes"},
		{"connections not known", func(w *world) {
			w.plane().Replicas[0].Clients, w.plane().Replicas[0].ClientsError = nil, "reading /debug/syncz: it answered 404"
		}, "proxies-connected", "connections-unknown", isWarning, "answered 404"},
		{"proxy misses files", func(w *world) { first(w).Version = "1.1.5" }, "proxy-release", "mounted-certs-missed", isError, "a/p1"},
		{"proxy unknown", func(w *world) { first(w).Version = "" }, "proxy-release", "release-unknown", isWarning, "a/p1"},
		{"proxy of some patch", func(w *world) { first(w).Version = "1.29" }, "proxy-release", "release-unknown", isWarning, "1.29 may be any"},
		{"proxy by its Envoy", func(w *world) {
			first(w).Version = ""
			first(w).Loaded.Info.Envoy = "1.37.2"
		}, "proxy-release", "release-unknown", isWarning, "file-rotation-missed"},
		{"ztunnel of one root", func(w *world) { first(w).Kind, first(w).Version = mesh.Ztunnel, "1.25.2" }, "proxy-release", "one-root-only", isError, ""},
		{"mixed istiods", func(w *world) { w.plane().Replicas[1].Version = "1.29.0" }, "mixed-releases", "mixed-releases", isWarning, "1.29.0 (istio-system/istiod-2); 1.30.3 (istio-system/istiod-1)"},

		{"CA unknown", func(w *world) { w.plane().CA = mesh.CASource{Kind: mesh.CAUnknown, Why: "forbidden"} }, "ca-source", "ca-unknown", isWarning, "forbidden"},
		{"CA not said", func(w *world) { w.plane().CA = mesh.CASource{} }, "ca-source", "ca-unknown", isWarning, ""},
		{"self-signed", func(w *world) { w.plane().CA.Kind = mesh.CASelfSigned }, "ca-source", "ca-self-signed", isWarning, ""},
		{"istio-csr", func(w *world) { w.plane().CA.Kind = mesh.CAIstioCSR }, "ca-source", "ca-elsewhere", isInfo, ""},
		{"citadel", func(w *world) { w.plane().CA.Kind = mesh.CACitadel }, "ca-source", "ca-citadel", isWarning, ""},
		{"managed", func(w *world) { w.plane().CA.Kind = mesh.CAUnsupported }, "ca-source", "ca-managed", isWarning, ""},
		{"CA faulty", func(w *world) { w.plane().CA.Error = "root-cert.pem: cut" }, "ca-source", "ca-faulty", isError, "cut"},
		{"wrong key", func(w *world) { w.plane().CA.KeyMatches = false }, "ca-source", "ca-wrong-key", isError, ""},
		{"CRL", func(w *world) { w.plane().CA.HasCRL = true }, "ca-source", "ca-crl", isWarning, ""},
		{"incomplete", func(w *world) { w.plane().CA.Keys = []string{"ca-key.pem", "root-cert.pem"} }, "ca-complete", "ca-incomplete", isError, "ca-cert.pem, cert-chain.pem"},
		{"tls layout too early", func(w *world) { w.plane().Version, w.plane().CA.Kind = "1.14.1", mesh.CAPluggedTLS }, "ca-complete", "ca-tls-layout", isError, "1.14.1"},
		{"S12 tls layout that nobody reads", func(w *world) { w.unreadLayout() }, "ca-complete", "ca-tls-layout", isError, "cuts over to this"},
		{"tls layout, unknown release", func(w *world) { w.plane().Version, w.plane().CA.Kind = "", mesh.CAPluggedTLS }, "ca-complete", "ca-tls-layout", isWarning, ""},
		{"waits on disk", func(w *world) {
			w.plane().CA.Cert, w.plane().CA.Root = pki.NewBundle(w.next.Cert), pki.NewBundle(w.other.Cert)
		}, "ca-loaded", "ca-waits", isError, "next restart cuts over"},
		{"istiod older than cacerts", func(w *world) {
			w.plane().CA.Created = clock()
			w.plane().Replicas[0].Served = nil
		}, "ca-loaded", "ca-waits", isWarning, "has run since before"},
		{"SHA-1", func(w *world) {
			w.plane().CA.Cert = pki.NewBundle(w.ca.Cert)
			w.plane().CA.Cert.Certs[0] = weak(w)
		}, "ca-material", "ca-weak-signature", isError, "SHA1"},
		{"the collector's own finding", func(w *world) {
			w.plane().CA.Findings = []pki.Finding{{ID: "wrong-key", Severity: isError, Subject: "x", Message: "m"}}
		}, "ca-material", "ca-wrong-key", isError, ""},
		{"plugged root signs", func(w *world) {
			w.plane().CA.Cert, w.plane().CA.Chain = pki.NewBundle(w.root.Cert), pki.Bundle{}
		}, "ca-material", "ca-root-signs", isWarning, ""},
		{"no path", func(w *world) { w.plane().CA.Root = pki.NewBundle(w.other.Cert) }, "ca-material", "ca-no-path", isError, ""},
		{"empty Secret", func(w *world) { w.plane().CA.Cert = pki.Bundle{} }, "ca-material", "ca-empty", isError, ""},
		{"owned", func(w *world) { w.plane().CA.Owners = []string{"Argo CD"} }, "ca-owner", "ca-owner", isWarning, "Argo CD"},
		{"immutable", func(w *world) { w.plane().CA.Immutable = true }, "ca-owner", "ca-immutable", isWarning, ""},
		// T6: Citadel issues nothing where what it is asked for is above what it grants.
		{"mtls unknown", func(w *world) {
			w.citadel()
			w.s.MTLS = mesh.MTLS{}
			w.s.Gaps = append(w.s.Gaps, mesh.Gap{Part: "policies on mutual TLS: meshpolicies", Resource: "meshpolicies", Error: "forbidden"})
		}, "mtls-use", "mtls-unknown", isWarning, "not read: policies"},
		{"T6 citadel's lives", func(w *world) { w.citadel(); w.plane().Flags.DefaultWorkloadTTL = mesh.Duration(91 * day) }, "citadel-ttl", "citadel-ttl", isError, "2184h"},
		{"citadel renews its root itself soon", func(w *world) { w.citadelRenews(time.Hour, 2861*day) }, "citadel-root-renewal", "citadel-renews-root", isWarning, "from 2034-11-22T11:48:00Z on"},
		{"citadel renews its root itself now", func(w *world) { w.citadelRenews(time.Hour, 2920*day) }, "citadel-root-renewal", "citadel-renews-root", isWarning, "at its next look, until 2034-11-22T13:48:00Z (every 1h0m0s"},
		{"citadel should have renewed its root", func(w *world) { w.citadelRenews(time.Hour, 2920*day+3*time.Hour) }, "citadel-root-renewal", "citadel-root-overdue", isWarning, "by 2034-11-22T13:48:00Z"},
		{"citadel has only just started", func(w *world) {
			w.citadelRenews(time.Hour, 3000*day)
			w.plane().Replicas[0].Started = w.s.TakenAt.Add(-time.Hour)
		}, "citadel-root-renewal", "citadel-renews-root", isWarning, "until 2035-02-10T13:00:00Z"},
		{"istiod renews its root under another key id", func(w *world) {
			p, root := w.plane(), newAuthority(t, "own", 3650*day)
			p.CA.Kind, p.CA.Cert, p.CA.Root = mesh.CASelfSigned, pki.NewBundle(root.Cert), pki.NewBundle(root.Cert)
			p.RootRenewal = &mesh.RootRenewal{Every: mesh.Duration(time.Hour), Percent: 20, KeyID: mesh.KeyIDBySHA256}
			w.s.TakenAt = p.RootRenewal.From(root.Cert).Add(-20 * day)
		}, "root-renewal", "istiod-renews-root-key-id", isError, "another subject key identifier"},
		{"citadel is told not to renew its root, which ends", func(w *world) { w.citadelRenews(0, 2861*day) }, "citadel-root-renewal", "citadel-root-renewal-off", isWarning, "CHECK_INTERVAL"},
		{"S9 workload secret of another root", func(w *world) { w.citadel(); w.s.WorkloadSecrets[0].Roots = []*pki.Certificate{w.other.Cert} }, "citadel-secrets", "citadel-secret-stale", isError, "root B"},
		{"S9 workload secret of another CA", func(w *world) {
			w.citadel()
			w.s.WorkloadSecrets[0].Chain = []*pki.Certificate{w.leaf(w.other, "spiffe://cluster.local/ns/a/sa/default", clock(), day)}
		}, "citadel-secrets", "citadel-secret-refused", isError, ""},
		{"S9 workload secret unread", func(w *world) { w.citadel(); w.s.WorkloadSecrets[0].Error = "root-cert.pem: cut" }, "citadel-secrets", "citadel-secret-faulty", isError, "cut"},
		{"S9 root unread", func(w *world) { w.citadel(); w.plane().CA.Root = pki.Bundle{} }, "citadel-secrets", "citadel-secret-unknown", isError, ""},
		{"S9 no secret at all", func(w *world) { w.citadel(); w.s.WorkloadSecrets = nil }, "citadel-secrets", "citadel-no-secrets", isWarning, "proves nothing"},
		{"P2 Pilot without a sidecar", func(w *world) { w.citadel(); w.s.Components[0].Sidecar = false }, "citadel-components", "pilot-without-sidecar", isWarning, "handshake error"},
		{"T2 Pilot of before the root", func(w *world) {
			w.citadel()
			w.s.Components[0].Sidecar, w.s.Components[0].Started = false, clock().Add(-20*day)
		}, "citadel-components", "pilot-stale", isError, "delete pod pilot-1"},
		{"T3 Galley of the hour before a root that was changed in place", func(w *world) {
			w.citadel()
			w.s.WorkloadSecrets[0].Chain = []*pki.Certificate{w.leaf(w.root, "spiffe://cluster.local/ns/a/sa/default", clock().Add(50*day), 90*day)}
			w.s.Components[1].Started = w.root.Cert.X509.NotBefore.Add(time.Minute)
		}, "citadel-components", "galley-stale", isWarning, "delete pod galley-1"},
		{"T3 Galley of before the root", func(w *world) { w.citadel(); w.s.Components[1].Started = clock().Add(-20 * day) }, "citadel-components", "galley-stale", isWarning, "delete pod galley-1"},
		{"T4 injector's caBundle", func(w *world) { w.citadel(); w.s.Webhooks[0].CABundle = pki.NewBundle(w.other.Cert) }, "citadel-injector", "injector-stale", isError, "no sidecar"},
		{"T4 injector's certificate", func(w *world) {
			w.citadel()
			w.s.Components[2].Started, w.s.Components[2].Version = clock().Add(-20*day), "1.1.7"
		}, "citadel-injector", "injector-old-certificate", isError, "1.1.7"},
		{"S12 issuer of another root", func(w *world) { w.managed().IssuerChain = []*pki.Certificate{w.next.Cert, w.other.Cert} }, "cert-manager-root", "cert-manager-root-changes", isError, "below CN=root B"},
		{"S12 issuer signs itself", func(w *world) { w.managed().IssuerType = "selfSigned" }, "cert-manager-root", "cert-manager-self-signed", isError, "every renewal"},
		{"S12 issuer that shows nothing", func(w *world) { m := w.managed(); m.IssuerType, m.IssuerChain = "vault", nil }, "cert-manager-root", "cert-manager-root-unknown", isWarning, "vault"},
		{"S12 two roots and cert-manager", func(w *world) { w.managed(); w.everywhere(w.root.Cert, w.other.Cert) }, "cert-manager-root", "cert-manager-bundle-shrinks", isError, "2 roots"},
		{"S12 another root is written already", func(w *world) {
			w.managed()
			w.plane().CA.Root = pki.NewBundle(w.other.Cert)
		}, "cert-manager-root", "cert-manager-root-waits", isError, "have refused it"},
		{"S12 the issuer's root is renewed first", func(w *world) {
			m := w.managed()
			m.IssuerWriter, m.IssuerRenewal = "cert-manager/selfsigned-ca", w.ca.Cert.X509.NotAfter.Add(-16*day)
		}, "cert-manager-root", "cert-manager-issuer-renews", isError, "that is the next"},
		{"S12 the issuer's root is renewed later", func(w *world) {
			m := w.managed()
			m.IssuerWriter, m.IssuerRenewal = "cert-manager/selfsigned-ca", w.ca.Cert.X509.NotAfter.Add(-14*day)
		}, "cert-manager-root", "cert-manager-issuer-renews", isInfo, "cert-manager/selfsigned-ca"},
		{"S16 overdue by its own word", func(w *world) {
			w.managed().RenewalTime = w.ca.Cert.X509.NotAfter.Add(-100 * day)
			w.s.TakenAt = w.ca.Cert.X509.NotAfter.Add(-99 * day)
		}, "ca-expiry", "cert-manager-overdue", isError, "should have been renewed"},
		{"S16 overdue", func(w *world) {
			w.managed()
			w.s.TakenAt = w.ca.Cert.X509.NotAfter.Add(-14 * day)
		}, "ca-expiry", "cert-manager-overdue", isError, "should have been renewed"},
		{"S16 not in good order, so like any other", func(w *world) {
			w.managed().Ready = false
			w.s.TakenAt = w.ca.Cert.X509.NotAfter.Add(-29 * day)
		}, "ca-expiry", "ca-ends-soon", isError, ""},
		{"S12 released", func(w *world) { m := w.managed(); m.Released, m.Secret = m.Secret, "cacerts-released" }, "cert-manager-hands", "cert-manager-released", isWarning, "nobody renews"},
		{"S16 no CA", func(w *world) { w.managed().IsCA = false }, "cert-manager-policy", "cert-manager-no-ca", isError, ""},
		{"S16 not ready", func(w *world) { m := w.managed(); m.Ready, m.Why = false, "no issuer" }, "cert-manager-policy", "cert-manager-not-ready", isWarning, "no issuer"},
		{"S16 renews late", func(w *world) { w.managed().RenewBefore = mesh.Duration(23 * time.Hour) }, "cert-manager-policy", "cert-manager-renews-late", isError, "23h"},
		{"S16 outlives its issuer", func(w *world) { w.managed().Duration = mesh.Duration(4000 * day) }, "cert-manager-policy", "cert-manager-outlives-issuer", isWarning, "root A"},
		{"S14 no reload", func(w *world) { w.managed(); w.plane().Flags.AutoReload, w.plane().Version = false, "1.17.0" }, "cert-manager-reload", "cert-manager-not-loaded", isError, "1.17.0"},
		{"G16 files", func(w *world) { first(w).FileMounted = true }, "stragglers", "straggler-file-mounted", isWarning, "a/p1"},
		{"G16 OUTPUT_CERTS", func(w *world) { first(w).OutputCerts = "/etc/out" }, "stragglers", "straggler-output-certs", isWarning, "Prometheus"},
		{"G16 roots of its own", func(w *world) { first(w).OwnRoots = "/etc/ssl/corp.pem" }, "stragglers", "straggler-own-roots", isWarning, "a/p1"},
		{"G16 paused node", func(w *world) { first(w).Node, w.s.Nodes[0].Ready = "n1", false }, "stragglers", "straggler-paused-node", isWarning, "delete the pod"},
		{"G16 subPath", func(w *world) {
			w.s.TrustMounts = []mesh.TrustMount{{Namespace: "a", Pod: "p", Container: "app", Path: "/ca", Fixed: true, Workload: mesh.Workload{Kind: "Deployment", Name: "d"}}}
		}, "stragglers", "trust-mount-fixed", isWarning, "rollout restart Deployment/d"},
		{"leftover", func(w *world) {
			w.s.LeftoverCASecret = &mesh.CASource{Namespace: "istio-system", Secret: "istio-ca-secret", Cert: pki.NewBundle(w.other.Cert)}
		}, "leftover-ca", "leftover-ca", isWarning, "istio-ca-secret"},
		{"leftover that signs", func(w *world) {
			w.s.LeftoverCASecret = &mesh.CASource{Namespace: "istio-system", Secret: "istio-ca-secret", Cert: pki.NewBundle(w.other.Cert)}
			w.plane().Replicas[1] = w.istiod("istiod-2", w.other)
		}, "leftover-ca", "leftover-ca-signs", isError, "istiod-2"},
		{"remote", func(w *world) {
			w.s.Remotes = []mesh.Remote{{Kind: "remote-secret", Namespace: "istio-system", Name: "west"}}
		}, "several-clusters", "several-clusters", isWarning, "remote-secret istio-system/west"},

		{"no roots", func(w *world) {
			w.plane().CA.Root, w.s.Namespaces = pki.Bundle{}, nil
		}, "roots-known", "no-roots", isError, ""},
		{"istiod signs with another", func(w *world) { w.plane().Replicas[0] = w.istiod("istiod-1", w.next) }, "istiods-agree", "istiod", isError, "istiod-1"},
		{"istiod unread", func(w *world) {
			w.plane().Replicas[0].Served, w.plane().Replicas[0].ServedError = nil, "timeout"
		}, "istiods-agree", "istiod-unknown", isError, "timeout"},
		{"istiod hands out others", func(w *world) { w.plane().Replicas[0].Signed = w.signed(w.ca, w.root.Cert, w.other.Cert) }, "istiods-agree", "istiod", isError, "other roots"},
		{"ConfigMap differs", func(w *world) { w.s.Namespaces[1].Trust.Bundle = pki.NewBundle(w.other.Cert) }, "configmaps-agree", "configmap", isError, "b/istio-ca-root-cert"},
		{"ConfigMap missing", func(w *world) { w.s.Namespaces[1].Trust = nil }, "configmaps-agree", "configmap-unknown", isError, "there is none"},
		{"ConfigMap unparsable", func(w *world) { w.s.Namespaces[1].Trust = &mesh.TrustAnchor{Name: "x", Error: "cut"} }, "configmaps-agree", "configmap-unknown", isError, "cut"},
		{"ClusterTrustBundle differs", func(w *world) {
			w.s.ClusterTrustBundle = &mesh.TrustAnchor{Name: "istio.io:istiod-ca:root-cert", Bundle: pki.NewBundle(w.other.Cert)}
		}, "configmaps-agree", "configmap", isError, "istio.io:istiod-ca"},
		{"ConfigMap immutable", func(w *world) { w.s.Namespaces[0].Trust.Immutable = true }, "trust-writable", "configmap-immutable", isWarning, ""},
		{"webhook differs", func(w *world) { w.s.Webhooks[0].CABundle = pki.NewBundle(w.root.Cert, w.other.Cert) }, "webhooks-agree", "webhook", isError, "inject"},
		{"webhook unparsable", func(w *world) { w.s.Webhooks[0].Error = "caBundle: empty" }, "webhooks-agree", "webhook-unknown", isError, ""},
		{"roots of a URL", func(w *world) { w.s.MeshCAURLs = []string{"https://partner.example/bundle"} }, "mesh-roots", "mesh-roots-unknown", isWarning, "partner.example"},
		{"a root that a URL alone explains", func(w *world) {
			w.s.MeshCAURLs = []string{"https://partner.example/bundle"}
			first(w).Loaded.Identities[0].Roots = []*pki.Certificate{w.root.Cert, w.other.Cert}
		}, "proxies-agree", "proxy-unknown", isError, "--mesh-root"},
		{"Certificate that nobody reads", func(w *world) { w.managed(); w.plane().CA = mesh.CASource{Kind: mesh.CAIstioCSR} }, "cert-manager-read", "cert-manager-unused", isInfo, "come from elsewhere"},
		{"CRL ends", func(w *world) { w.crl(clock().Add(-8*day), 10*day) }, "crls", "crl-ends", isWarning, "ends in 48h0m0s"},
		{"CRL ended", func(w *world) { w.crl(clock().Add(-8*day), 7*day) }, "crls", "crl-ended", isError, "2026-11-23"},
		{"CRL ended, who judges", func(w *world) { w.crl(clock().Add(-8*day), 7*day) }, "handshakes", "handshake-refused", isError, "CRL of CN=intermediate A ended"},
		{"CRL of the root alone", func(w *world) { w.crls(pairs.Lists(clock(), day, []*pki.Authority{w.root})) }, "handshakes", "handshake-refused", isError, "there is none of CN=intermediate A"},
		{"CRL revokes", func(w *world) {
			w.crls(pairs.Lists(clock(), day, []*pki.Authority{w.root, w.ca}, first(w).Loaded.Identities[0].Leaf()))
		}, "proxies-agree", "proxy", isError, "is revoked by the CRL"},
		{"CRL revokes the intermediate", func(w *world) { w.crls(pairs.Lists(clock(), day, []*pki.Authority{w.root, w.ca}, w.ca.Cert)) }, "handshakes", "handshake-refused", isError, "intermediate A is revoked"},
		{"CRL unreadable", func(w *world) { w.crls([]byte("-----BEGIN X509 CRL-----\nMAA=\n-----END X509 CRL-----\n")) }, "crls", "crl-unknown", isWarning, "cannot be judged"},
		{"CRL unreadable, who judges", func(w *world) { w.crls([]byte("-----BEGIN X509 CRL-----\nMAA=\n-----END X509 CRL-----\n")) }, "handshakes", "handshake-depends", isError, "cannot be judged"},
		{"CRL left behind", func(w *world) { w.crl(clock(), 30*day); w.plane().CA.HasCRL = false }, "crls", "crl-left", isWarning, "4 proxies"},
		{"CRL left in ConfigMaps", func(w *world) { w.s.Namespaces[0].CRL = &mesh.CRLMap{Name: "istio-ca-crl", InForce: true} }, "crls", "crl-left", isWarning, "1 namespaces"},
		{"a ztunnel's CRL", func(w *world) {
			first(w).Kind, first(w).ReadsCRL = mesh.Ztunnel, true
			w.s.Namespaces[0].CRL = &mesh.CRLMap{Name: "istio-ca-crl", InForce: true}
		}, "crls", "crl-unknown", isWarning, "a ztunnel does not show"},
		{"a ztunnel's CRL, who judges", func(w *world) {
			first(w).Kind, first(w).ReadsCRL = mesh.Ztunnel, true
			w.s.Namespaces[0].CRL = &mesh.CRLMap{Name: "istio-ca-crl", Error: "forbidden"}
		}, "handshakes", "handshake-depends", isError, "ztunnel has a CRL"},
		{"proxy lacks the root", func(w *world) { first(w).Loaded.Identities[0].Roots = []*pki.Certificate{w.other.Cert} }, "proxies-agree", "proxy", isError, "a/p1"},
		{"proxy has one besides", func(w *world) { first(w).Loaded.Identities[0].Roots = []*pki.Certificate{w.root.Cert, w.other.Cert} }, "proxies-agree", "proxy", isError, "still trusts other"},
		{"proxy unread", func(w *world) { first(w).Loaded, first(w).Error = nil, "refused" }, "proxies-agree", "proxy-unknown", isError, "refused"},
		{"proxy never asked", func(w *world) { first(w).Loaded = nil }, "proxies-agree", "proxy-unknown", isError, "not asked"},
		{"proxy without a certificate", func(w *world) { first(w).Loaded.Identities = nil }, "proxies-agree", "proxy-unknown", isError, ""},
		{"proxy warming", func(w *world) { first(w).Loaded.Warming = []string{"ROOTCA"} }, "proxies-agree", "proxy-unknown", isError, "warming"},
		{"leaf of another CA", func(w *world) { w.load(first(w), w.next, clock(), day, w.root.Cert) }, "proxies-agree", "proxy", isError, "would not be accepted"},
		{"serving chain of another root", func(w *world) { w.plane().Replicas[0] = w.istiod("istiod-1", w.next) }, "served-chains", "served-refused", isError, "agents would refuse"},
		{"serving chain for another name", func(w *world) { w.plane().Namespace = "elsewhere" }, "served-chains", "served-refused", isError, "elsewhere"},
		{"webhook of another root", func(w *world) { w.s.Webhooks[0].CABundle = pki.NewBundle(w.other.Cert) }, "webhook-chains", "webhook-chain-refused", isError, "istiod-1"},
		{"webhook of another root that no istiod writes", func(w *world) {
			w.s.Webhooks[0].CABundle, w.s.Webhooks[0].ByHand = pki.NewBundle(w.other.Cert), "INJECTION_WEBHOOK_CONFIG_NAME is empty"
		}, "webhook-chains", "webhook-chain-refused", isError, "istiod-1"},
		{"webhook that may fail", func(w *world) {
			w.s.Webhooks[0].CABundle, w.s.Webhooks[0].Fatal = pki.NewBundle(w.other.Cert), false
		}, "webhook-chains", "webhook-chain-refused", isWarning, ""},
		{"replicas apart", func(w *world) { w.plane().Replicas[0] = w.istiod("istiod-1", w.next) }, "replicas-alike", "replicas-sign-apart", isError, "istiod-1 with CN=intermediate B"},
		{"replicas hand out apart", func(w *world) {
			w.plane().Replicas[0].Signed, w.plane().Replicas[1].Signed = w.signed(w.ca, w.root.Cert), w.signed(w.ca, w.root.Cert, w.other.Cert)
		}, "replicas-alike", "replicas-trust-apart", isError, "istiod-1 and istio-system/istiod-2"},
		{"a pair refused", func(w *world) { w.load(first(w), w.next, clock(), day, w.other.Cert) }, "handshakes", "handshake-refused", isError, "the server would refuse"},
		{"a pair that depends", func(w *world) {
			first(w).Loaded.Identities[0].Roots = []*pki.Certificate{pki.NewCertificate([]byte{1})}
		}, "handshakes", "handshake-depends", isError, ""},
		{"CAs of one name", func(w *world) {
			twin := newAuthority(t, "root A", 3650*day)
			w.everywhere(w.root.Cert, twin.Cert)
		}, "roots-apart", "cas-same-name", isWarning, "CN=root A"},
		{"too many CAs", func(w *world) {
			for range 100 {
				w.s.MeshCACertificates = append(w.s.MeshCACertificates, w.leaf(w.ca, "spiffe://x", clock(), 600*day))
			}
		}, "roots-apart", "many-cas", isWarning, ""},
		{"two roots", func(w *world) { w.everywhere(w.root.Cert, w.other.Cert) }, "roots-needed", "roots-needed", isInfo, "4 proxies, one is a/p1 would be refused"},

		{"no proxy", func(w *world) { w.s.Proxies = nil }, "proxies-seen", "proxies-seen", isInfo, ""},
		{"two classes", func(w *world) { w.load(first(w), w.next, clock(), day, w.root.Cert) }, "one-class", "class", isInfo, "intermediate B"},
		{"unconfirmed", func(w *world) { first(w).Loaded.Contexts = nil }, "leaf-in-use", "leaf-unconfirmed", isWarning, "a/p1"},
		{"swapping", func(w *world) {
			c := first(w).Loaded.Contexts[0]
			c.LeafSerial = "1"
			first(w).Loaded.Contexts = append(first(w).Loaded.Contexts, c)
		}, "leaf-in-use", "leaf-swapping", isWarning, ""},
		{"weak evidence", func(w *world) { first(w).Loaded.Evidence = proxy.EvidenceCerts }, "leaf-in-use", "weak-evidence", isWarning, ""},
		{"unusable identity", func(w *world) { first(w).Loaded.Identities[0].State = "Unavailable: x" }, "leaf-in-use", "identity-unusable", isError, ""},
		{"not ready", func(w *world) { first(w).Ready = false }, "proxy-state", "proxy-not-ready", isInfo, "was read"},
		{"not ready and unread", func(w *world) { first(w).Ready, first(w).Loaded = false, nil }, "proxy-state", "proxy-not-ready", isWarning, "a/p1"},
		{"quit", func(w *world) { first(w).Ready, first(w).Quit = false, true }, "proxy-state", "proxy-quit", isInfo, "has quit"},
		{"starting", func(w *world) { first(w).Ready, first(w).Starting = false, true }, "proxy-state", "proxy-starting", isInfo, ""},

		{"root ends soon", func(w *world) { short(w, 59*day) }, "ca-expiry", "ca-ends-soon", isWarning, "ends in 59 days, at 2027-01-22T12:00:00Z (clock: 2026-11-24T12:00:00Z)"},
		{"root ends very soon", func(w *world) { short(w, 29*day) }, "ca-expiry", "ca-ends-soon", isError, "ends in 29 days"},
		{"root ended", func(w *world) { short(w, 59*day); w.s.TakenAt = clock().Add(59*day + time.Second) }, "ca-expiry", "ca-expired", isError, ""},
		{"root not yet valid", func(w *world) { w.s.TakenAt = clock().Add(-2 * time.Hour) }, "ca-expiry", "ca-not-yet-valid", isError, ""},
		{"webhook's root ends", func(w *world) {
			w.s.Webhooks[0].CABundle = pki.NewBundle(w.root.Cert, newAuthority(t, "brief", 10*day).Cert)
		}, "ca-expiry", "ca-ends-soon", isError, "root in webhook"},
		{"trust bundle's root ends", func(w *world) {
			w.s.ClusterTrustBundle = &mesh.TrustAnchor{Name: "b", Bundle: pki.NewBundle(newAuthority(t, "brief", 10*day).Cert)}
		}, "ca-expiry", "ca-ends-soon", isError, "ClusterTrustBundle"},
		{"root handed out ends", func(w *world) {
			w.plane().Replicas[0].Signed = w.signed(w.ca, newAuthority(t, "brief", 10*day).Cert)
		}, "ca-expiry", "ca-ends-soon", isError, "hands out"},
		{"root unparsable", func(w *world) { w.s.MeshCACertificates = []*pki.Certificate{pki.NewCertificate([]byte{1})} }, "ca-expiry", "ca-unparsable", isError, ""},
		{"leaf ended", func(w *world) { w.load(first(w), w.ca, clock().Add(-2*day), day, w.root.Cert) }, "leaf-expiry", "leaf-expired", isError, "a/p1"},
		{"leaf not yet valid", func(w *world) { w.load(first(w), w.ca, clock().Add(time.Hour), day, w.root.Cert) }, "leaf-expiry", "leaf-not-yet-valid", isError, ""},
		{"leaf overdue", func(w *world) { w.load(first(w), w.ca, clock().Add(-19*time.Hour), day, w.root.Cert) }, "leaf-expiry", "leaf-overdue", isWarning, ""},
		{"leaf unparsable", func(w *world) { first(w).Loaded.Identities[0].Chain[0] = pki.NewCertificate([]byte{1}) }, "leaf-expiry", "leaf-unparsable", isError, ""},
		{"serving ended", func(w *world) { w.serve(w.leaf(w.ca, "", clock().Add(-2*day), day, "istiod.istio-system.svc")) }, "serving-expiry", "serving-expired", isError, ""},
		{"serving overdue", func(w *world) { w.serve(w.leaf(w.ca, "", clock().Add(-9*day), 10*day, "istiod.istio-system.svc")) }, "serving-expiry", "serving-overdue", isWarning, ""},
		{"serving not yet valid", func(w *world) { w.serve(w.leaf(w.ca, "", clock().Add(day), day, "istiod.istio-system.svc")) }, "serving-expiry", "serving-not-yet-valid", isError, ""},
		{"serving unparsable", func(w *world) { w.serve(pki.NewCertificate([]byte{1})) }, "serving-expiry", "serving-unparsable", isError, ""},
		{"leaves outlive the CA", func(w *world) { w.s.TakenAt = w.ca.Cert.X509.NotAfter.Add(-time.Hour) }, "ttl", "ttl", isError, "ends in 1h, and leaves are asked for 24h"},
		{"a proxy's leaf outlives the CA", func(w *world) {
			w.s.TakenAt = w.ca.Cert.X509.NotAfter.Add(-10 * day)
			first(w).SecretTTL = mesh.Duration(20 * day)
		}, "ttl", "ttl", isError, "proxy a/p1"},
		{"leaves may outlive the CA", func(w *world) { w.s.TakenAt = w.ca.Cert.X509.NotAfter.Add(-80 * day) }, "ttl", "ttl-max", isInfo, ""},
		{"over the limit", func(w *world) { first(w).SecretTTL = mesh.Duration(91 * day) }, "ttl-limit", "ttl-over-limit", isError, "2184h0m0s"},
		{"clock ahead", func(w *world) { w.s.ClockSkew = mesh.Duration(2 * time.Minute) }, "clock", "clock", isWarning, "2m0s ahead of"},
		{"clock behind", func(w *world) { w.s.ClockSkew = mesh.Duration(-2 * time.Minute) }, "clock", "clock", isWarning, "2m0s behind"},

		{"webhook of a revision that is gone", func(w *world) { w.s.Webhooks[0].Revision = "gone" }, "webhook-owners", "webhook-orphaned", isWarning, "of which there is no istiod"},
		{"webhook that no istiod writes", func(w *world) { w.s.Webhooks[0].ByHand = "INJECTION_WEBHOOK_CONFIG_NAME is empty" }, "webhook-owners", "webhook-by-hand", isWarning, "INJECTION_WEBHOOK_CONFIG_NAME is empty"},
		{"webhook that nobody ever wrote into", func(w *world) {
			w.s.Webhooks = append(w.s.Webhooks, mesh.Webhook{Config: "istiod-default-validator", Name: "v", Revision: "gone", Service: "istio-system/istiod", Blank: true, Error: "caBundle: no certificate in it"})
		}, "webhook-owners", "webhook-unwritten", isWarning, "passes unchecked"},
		{"renewal", func(w *world) { first(w).Reach = mesh.ReachRenewal }, "reach", "reach-renewal", isInfo, ""},
		{"restart", func(w *world) { first(w).Reach = mesh.ReachRestart }, "reach", "reach-restart", isWarning, ""},
		{"elsewhere", func(w *world) { first(w).Reach = mesh.ReachElsewhere }, "reach", "reach-elsewhere", isWarning, ""},
		{"reach unknown", func(w *world) { first(w).Reach = "" }, "reach", "reach-unknown", isError, ""},
		{"clients of a younger root", func(w *world) { first(w).ProvCert = "/etc/certs" }, "client-roots", "client-roots-of-start", isWarning, "before CN=root A was made"},
		{"virtual machine", func(w *world) { w.s.VMs = []mesh.VM{{Namespace: "a", Name: "vm"}} }, "virtual-machines", "virtual-machine", isWarning, "a/vm"},
		{"not injected", func(w *world) { w.s.Uninjected = []mesh.Uninjected{{Namespace: "a", Name: "bare"}} }, "injected", "not-injected", isInfo, "a/bare"},
		{"node down", func(w *world) { w.s.Nodes[0] = mesh.Node{Name: "n1"} }, "nodes-ready", "node-not-ready", isWarning, "unknown time"},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t)
			test.spoil(w)
			findings := ruleOf(t, test.rule, w.s)
			if !has(findings, test.id, test.severity) {
				t.Fatalf("rule %s did not find %s %s: %+v", test.rule, test.severity, test.id, findings)
			}
			if text, err := json.Marshal(findings); err != nil || !strings.Contains(unescape(text), test.says) {
				t.Errorf("%q is not said (%v): %s", test.says, err, text)
			}
			for _, f := range findings {
				if !explained(hints, f.ID) {
					t.Errorf("docs/hints.md has no section for %s", f.ID)
				}
			}
			report := w.run()
			if slices.Contains(report.Passed, test.rule) || !has(report.Findings, test.id, test.severity) {
				t.Errorf("the report does not have it")
			}
			delete(unseen, test.rule)
		})
	}
	for rule := range unseen {
		t.Errorf("rule %s was never seen failing", rule)
	}
}

func unescape(text []byte) string {
	return strings.NewReplacer(`\u003e`, ">", `\u003c`, "<").Replace(string(text))
}

// explained reports whether the page has an ID's section; what is said of the CA's
// material has that of "ca lint".
func explained(page []byte, id string) bool {
	for _, prefix := range []string{"", "ca-", "cas-"} {
		if of, ok := strings.CutPrefix(id, prefix); ok && bytes.Contains(page, []byte("\n### "+of+"\n")) {
			return true
		}
	}
	return false
}

func ruleOf(t *testing.T, id string, s *mesh.Snapshot) []check.Finding {
	t.Helper()
	for _, rule := range check.Rules() {
		if rule.ID == id {
			findings, _ := rule.Run(s, check.DefaultPolicy())
			for i := range findings {
				if findings[i].ID == "" {
					findings[i].ID = rule.ID
				}
			}
			return findings
		}
	}
	t.Fatalf("there is no rule %s", id)
	return nil
}

// short gives the whole mesh a root that ends soon, and an intermediate with it.
func short(w *world, lifetime time.Duration) {
	w.root = newAuthority(w.t, "short root", lifetime)
	w.ca = below(w.t, w.root, "short intermediate", lifetime)
	w.plane().CA.Cert, w.plane().CA.Chain = pki.NewBundle(w.ca.Cert), pki.NewBundle(w.ca.Cert)
	for i := range w.plane().Replicas {
		w.plane().Replicas[i] = w.istiod(w.plane().Replicas[i].Pod, w.ca)
	}
	for i := range w.s.Proxies {
		w.load(&w.s.Proxies[i], w.ca, clock(), day, w.root.Cert)
	}
	w.everywhere(w.root.Cert)
}

func (w *world) serve(c *pki.Certificate) { w.plane().Replicas[0].Served.Chain[0] = c }

// weak is an intermediate whose signature is said to be one with SHA-1: Go makes
// none any more.
func weak(w *world) *pki.Certificate {
	template := &x509.Certificate{
		SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: "weak"}, NotBefore: clock().Add(-time.Hour), NotAfter: clock().Add(500 * day),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, w.root.Cert.X509, &w.key.PublicKey, w.root.Key)
	if err != nil {
		w.t.Fatal(err)
	}
	c := pki.NewCertificate(der)
	c.X509.SignatureAlgorithm = x509.ECDSAWithSHA1
	return c
}

// TestNothingPassesUnread: a rule that found nothing has not passed where a part
// that it rests on is missing.
func TestNothingPassesUnread(t *testing.T) {
	for resource, rules := range map[string][]string{
		"secrets":                         {"several-clusters", "leftover-ca", "ca-loaded", "ca-material"},
		"services":                        {"several-clusters"},
		"workloadentries":                 {"virtual-machines", "client-roots"},
		"nodes":                           {"nodes-ready"},
		"pods":                            {"proxies-seen", "proxies-agree", "handshakes", "leaf-expiry", "reach"},
		"configmaps":                      {"configmaps-agree", "trust-writable"},
		"namespaces":                      {"configmaps-agree"},
		"clustertrustbundles":             {"configmaps-agree"},
		"deployments":                     {"istiod-release", "mixed-releases", "istiods-agree", "served-chains", "replicas-alike", "several-clusters", "ttl"},
		"mutatingwebhookconfigurations":   {"webhooks-agree", "webhook-chains"},
		"validatingwebhookconfigurations": {"webhooks-agree"},
	} {
		w := newWorld(t)
		w.s.Gaps = []mesh.Gap{{Part: "some " + resource, Resource: resource, Error: "page expired", Incomplete: true}}
		report := w.run()
		for _, rule := range rules {
			i := slices.IndexFunc(report.Skipped, func(s check.Skip) bool { return s.Rule == rule })
			if slices.Contains(report.Passed, rule) || i < 0 || !report.Skipped[i].Unknown {
				t.Errorf("%s passed without %s", rule, resource)
			}
		}
	}
}

// TestNothingPassesOverNothing: what is not there proves nothing.
func TestNothingPassesOverNothing(t *testing.T) {
	report := check.Run(&mesh.Snapshot{TakenAt: clock()}, check.DefaultPolicy())
	for _, passed := range report.Passed {
		switch passed {
		case "unread", "clock":
		default:
			t.Errorf("%s passed over an empty mesh", passed)
		}
	}
	if report.Worst() != isError {
		t.Error("an empty mesh has no error")
	}
	for _, skip := range report.Skipped {
		if skip.Why == "" {
			t.Errorf("%s was skipped without a reason", skip.Rule)
		}
	}
	w := newWorld(t)
	w.s.Webhooks = nil
	w.plane().Replicas[0].Version, w.plane().Replicas[1].Version, w.plane().Version = "", "", ""
	w.plane().Replicas = w.plane().Replicas[:1]
	report = w.run()
	for _, rule := range []string{"webhooks-agree", "webhook-chains", "mixed-releases", "replicas-alike"} {
		if slices.Contains(report.Passed, rule) {
			t.Errorf("%s passed over nothing", rule)
		}
	}
}

// TestWithoutSecrets: a reader without permission for Secrets still has the
// verdict on trust, from ConfigMaps and what istiods serve.
func TestWithoutSecrets(t *testing.T) {
	w := newWorld(t)
	w.plane().CA = mesh.CASource{Kind: mesh.CAUnknown, Why: "the Secret cannot be read", Error: "forbidden"}
	w.s.Gaps = []mesh.Gap{{Part: "secret istio-system/cacerts", Verb: "get", Resource: "secrets", Namespace: "istio-system", Error: "forbidden"}}
	report := w.run()
	if report.Worst() != isWarning {
		t.Errorf("worst is %q: %+v", report.Worst(), report.Findings)
	}
	if slices.Contains(report.Passed, "istiods-agree") {
		t.Error("it is said that istiods sign with a CA that was not read")
	}
	for _, rule := range []string{"served-chains", "replicas-alike", "configmaps-agree", "proxies-agree", "handshakes"} {
		if !slices.Contains(report.Passed, rule) {
			t.Errorf("%s did not pass", rule)
		}
	}
	w.plane().Replicas[0], w.plane().Replicas[1] = w.istiod("istiod-1", w.next), w.istiod("istiod-2", w.next)
	if report := w.run(); !has(report.Findings, "served-refused", isError) {
		t.Error("istiods of a foreign CA passed")
	}
}

func TestCSRProofIsAskedFor(t *testing.T) {
	w := newWorld(t)
	policy := check.DefaultPolicy()
	policy.CSRProof = true
	if report := check.Run(w.s, policy); !has(report.Findings, "istiod-unknown", isError) {
		t.Error("a replica without an answer passed")
	}
	for i := range w.plane().Replicas {
		w.plane().Replicas[i].Signed = w.signed(w.ca, w.root.Cert)
	}
	if report := check.Run(w.s, policy); report.Worst() != isInfo {
		t.Errorf("%+v", report.Findings)
	}
}

// TestMeshConfigRootsAreNoFault: meshConfig.caCertificates are added to what
// proxies trust, and to nothing else.
func TestMeshConfigRootsAreNoFault(t *testing.T) {
	w := newWorld(t)
	w.s.MeshCACertificates = []*pki.Certificate{w.other.Cert}
	for i := range w.s.Proxies {
		w.s.Proxies[i].Loaded.Identities[0].Roots = []*pki.Certificate{w.root.Cert, w.other.Cert}
	}
	if report := w.run(); report.Worst() != isInfo {
		t.Errorf("%+v", report.Findings)
	}
}

// An adopted mesh whose rotation was taken back signs with its self-signed pair again:
// the Secret that it came from is then no leftover, and no istiod is at fault.
func TestAdoptedPairThatSignsIsNoLeftover(t *testing.T) {
	w := newWorld(t)
	w.s.LeftoverCASecret = &mesh.CASource{Namespace: "istio-system", Secret: "istio-ca-secret", Cert: w.plane().CA.Cert}
	if report := w.run(); report.Worst() != isInfo {
		t.Errorf("%+v", report.Findings)
	}
}

func TestThresholds(t *testing.T) {
	for _, test := range []struct {
		life       time.Duration
		warn, fail time.Duration
		want       pki.Severity
	}{
		{61 * day, 60 * day, 30 * day, isInfo},
		{59 * day, 60 * day, 30 * day, isWarning},
		{31 * day, 60 * day, 30 * day, isWarning},
		{29 * day, 60 * day, 30 * day, isError},
		{29 * day, 20 * day, 10 * day, isInfo},
		{300 * day, 400 * day, 365 * day, isError},
	} {
		w := newWorld(t)
		short(w, test.life)
		w.plane().Flags.MaxWorkloadTTL = mesh.Duration(day)
		report := check.Run(w.s, check.Policy{WarnBefore: test.warn, FailBefore: test.fail})
		if got := report.Worst(); got != test.want {
			t.Errorf("%s with %s and %s: %q, want %q", test.life, test.warn, test.fail, got, test.want)
		}
	}
}

func TestFindingsNameTheirProxies(t *testing.T) {
	w := newWorld(t)
	w.s.Proxies[2].Loaded = nil
	for _, f := range w.run().Findings {
		if f.ID == "proxy-unknown" && !slices.Equal(f.Proxies(), []string{"b/p1"}) {
			t.Errorf("%v", f.Proxies())
		}
		if f.Category == check.CA && len(f.Proxies()) > 0 {
			t.Errorf("%s is about proxies", f.ID)
		}
	}
}

// canary adds a second revision, with its own istiod and the CA given.
func (w *world) canary(ca *pki.Authority) *mesh.ControlPlane {
	plane := *w.plane()
	plane.Name, plane.Revision = "istiod-canary", "canary"
	plane.Replicas = []mesh.Istiod{w.istiod("canary-1", ca)}
	w.s.ControlPlanes = append(w.s.ControlPlanes, plane)
	return &w.s.ControlPlanes[1]
}

// TestRevisionsAreKeptApart: a webhook leads to its own istiod, and a proxy asks
// its own.
func TestRevisionsAreKeptApart(t *testing.T) {
	w := newWorld(t)
	w.canary(w.next)
	if found := ruleOf(t, "webhook-chains", w.s); len(found) > 0 {
		t.Errorf("the default revision's webhook was held against the canary: %+v", found)
	}
	w.s.Webhooks[0].Service = "istio-system/istiod-revision-tag"
	if found := ruleOf(t, "webhook-chains", w.s); !has(found, "webhook-chain-refused", isError) {
		t.Error("a tag's service may lead to any istiod of its namespace")
	}

	w = newWorld(t)
	w.canary(w.ca).Flags.MaxWorkloadTTL = mesh.Duration(time.Hour)
	if found := ruleOf(t, "ttl-limit", w.s); len(found) > 0 {
		t.Errorf("proxies of the default revision were held against the canary: %+v", found)
	}
	w.s.Proxies[0].Revision = "canary"
	if found := ruleOf(t, "ttl-limit", w.s); len(found) != 1 || !slices.Equal(found[0].Proxies(), []string{"a/p1"}) {
		t.Errorf("%+v", found)
	}

	w = newWorld(t)
	w.s.TakenAt = w.ca.Cert.X509.NotAfter.Add(-10 * day)
	w.s.Proxies[0].Revision, w.s.Proxies[0].SecretTTL = "canary", mesh.Duration(20*day)
	w.canary(w.ca).CA = mesh.CASource{Kind: mesh.CAUnknown}
	if found := ruleOf(t, "ttl", w.s); has(found, "ttl", isError) {
		t.Errorf("a proxy of the canary was held against the default revision's CA: %+v", found)
	}
}

// TestReplicasOfOneName: where leaves carry no key id, only the signature tells
// two CAs of one name apart.
func TestReplicasOfOneName(t *testing.T) {
	w := newWorld(t)
	twin := below(t, w.root, "intermediate A", 730*day)
	w.plane().Replicas[1] = w.istiod("istiod-2", twin)
	for _, r := range w.plane().Replicas {
		r.Served.Chain[0].X509.AuthorityKeyId = nil
	}
	if found := ruleOf(t, "replicas-alike", w.s); !has(found, "replicas-sign-apart", isError) {
		t.Errorf("%+v", found)
	}
}

// TestDaysOfWhatHasEnded: a root that ended an hour ago has not zero days left.
func TestDaysOfWhatHasEnded(t *testing.T) {
	w := newWorld(t)
	w.s.TakenAt = w.root.Cert.X509.NotAfter.Add(time.Hour)
	ends := check.Ends(w.s)
	if last := ends[len(ends)-1]; last.Role != "root" || last.Days != -1 {
		t.Errorf("%+v", last)
	}
}
