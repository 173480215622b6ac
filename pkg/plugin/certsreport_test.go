package plugin

import (
	"bytes"
	"crypto/x509/pkix"
	"strings"
	"testing"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/pki"
	"github.com/meshca/kubectl-meshca/pkg/proxy"
)

// TestS17_SeveralClusters: a root that two clusters have is named; two contexts of
// one cluster share nothing.
func TestS17_SeveralClusters(t *testing.T) {
	at := time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC)
	root, err := pki.NewRoot(pki.Request{Subject: pkix.Name{CommonName: "one\x1broot"}, Key: pki.ECDSAP256, Now: at, Lifetime: 900 * 24 * time.Hour, PathLen: -1})
	if err != nil {
		t.Fatal(err)
	}
	cluster := func(context, uid string) *mesh.Snapshot {
		return &mesh.Snapshot{TakenAt: at, Cluster: mesh.Cluster{Context: context, UID: uid}, ControlPlanes: []mesh.ControlPlane{{Namespace: "istio-system", Name: "istiod",
			CA: mesh.CASource{Kind: mesh.CASelfSigned, Namespace: "istio-system", Secret: "istio-ca-secret", Exists: true, Cert: pki.NewBundle(root.Cert), Root: pki.NewBundle(root.Cert)}}},
			Proxies: []mesh.Proxy{{Namespace: "a", Name: "p", Loaded: &proxy.Loaded{Evidence: proxy.EvidenceCerts, ControlPlane: &proxy.ControlPlaneTLS{Address: "istio-pilot:15010"},
				Contexts: []proxy.Context{{SPIFFE: "spiffe://cluster.local/ns/a/sa/default", LeafSerial: "a", LeafUntil: at.Add(-time.Hour)}}}}}}
	}
	shared := func(snapshots ...*mesh.Snapshot) *certsReport {
		r := &certsReport{}
		for _, s := range snapshots {
			r.add(newCertsCluster(s), s, func(string, map[string]string) bool { return true })
		}
		r.share()
		return r
	}
	if r := shared(cluster("east", "1"), cluster("east-admin", "1")); len(r.Shared) != 0 {
		t.Errorf("one cluster by two names: %+v", r.Shared)
	}
	r := shared(cluster("east", "1"), cluster("west", "2"))
	if len(r.Shared) != 1 || strings.Join(r.Shared[0].Clusters, ",") != "east,west" {
		t.Fatalf("%+v", r.Shared)
	}
	var out bytes.Buffer
	if err := printRows(&out, r.rows(true)); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"cluster: west\n", "is a root of east, west: rotate them together", "istio-pilot:15010", "not secured"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in\n%s", want, out.String())
		}
	}
	if strings.Contains(out.String(), "\x1b") {
		t.Error("a name reaches the terminal as it is")
	}
	if code, _ := codeOf(r.failure()); code != ExitFindings {
		t.Errorf("a certificate has ended, and the exit code is %d", code)
	}
}

// TestS17_RootsWithoutASecret: a CA that is no Secret, or one that may not be read, is
// known by what its mesh trusts, and shared with another cluster alike.
func TestS17_RootsWithoutASecret(t *testing.T) {
	at := time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC)
	root, err := pki.NewRoot(pki.Request{Subject: pkix.Name{CommonName: "root"}, Key: pki.ECDSAP256, Now: at, Lifetime: 900 * 24 * time.Hour, PathLen: -1})
	if err != nil {
		t.Fatal(err)
	}
	plane := mesh.ControlPlane{Namespace: "istio-system", Name: "istiod", CA: mesh.CASource{Kind: mesh.CAIstioCSR}}
	trust := mesh.TrustAnchor{Name: "istio-ca-root-cert", Bundle: pki.NewBundle(root.Cert)}
	bundle := trust
	bundle.Name = mesh.TrustBundleName
	plain := &mesh.Snapshot{TakenAt: at, Cluster: mesh.Cluster{Context: "plain", UID: "1"}, ControlPlanes: []mesh.ControlPlane{plane}}
	plain.ControlPlanes[0].CA = mesh.CASource{Kind: mesh.CAPlugged, Namespace: "istio-system", Secret: "cacerts", Exists: true, Root: trust.Bundle}
	maps := &mesh.Snapshot{TakenAt: at, Cluster: mesh.Cluster{Context: "maps", UID: "2"}, ControlPlanes: []mesh.ControlPlane{plane},
		Namespaces: []mesh.Namespace{{Name: "a"}, {Name: "istio-system", Trust: &trust}}}
	bundled := &mesh.Snapshot{TakenAt: at, Cluster: mesh.Cluster{Context: "bundled", UID: "3"}, ControlPlanes: []mesh.ControlPlane{plane}, ClusterTrustBundle: &bundle}
	r := &certsReport{}
	for _, s := range []*mesh.Snapshot{plain, maps, bundled} {
		r.add(newCertsCluster(s), s, func(string, map[string]string) bool { return true })
	}
	r.share()
	if len(r.Shared) != 1 || strings.Join(r.Shared[0].Clusters, ",") != "plain,maps,bundled" {
		t.Errorf("%+v", r.Shared)
	}
	for i, want := range []string{"secret istio-system/cacerts", "configmap istio-system/istio-ca-root-cert", "clustertrustbundle " + mesh.TrustBundleName} {
		if ca := r.Clusters[i].CA; len(ca) != 1 || ca[0].Source != want || ca[0].Role != "root" || ca[0].DaysLeft != 900 {
			t.Errorf("%s: %+v", want, ca)
		}
	}
}
