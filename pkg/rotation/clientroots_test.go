package rotation_test

import (
	"bytes"
	"crypto/tls"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/proxy"
	"github.com/meshca/kubectl-meshca/pkg/rehearsal"
	"github.com/meshca/kubectl-meshca/pkg/rotation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// takesClientsOf is how many istiods take certificates of clients that a root with this
// subject has signed, by what they say when somebody connects.
func (b *bench) takesClientsOf(subject []byte) (n int) {
	b.t.Helper()
	pods, err := b.mesh.Kube.CoreV1().Pods("istio-system").List(b.ctx, metav1.ListOptions{LabelSelector: "app=istiod"})
	if err != nil || len(pods.Items) == 0 {
		b.t.Fatalf("%d istiods: %v", len(pods.Items), err)
	}
	for _, pod := range pods.Items {
		raw, err := b.mesh.DialPod(b.ctx, proxy.Pod{Namespace: pod.Namespace, Name: pod.Name}, proxy.SecurePort)
		if err != nil {
			b.t.Fatal(err)
		}
		client := tls.Client(raw, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}, //nolint:gosec // only what it asks for matters here
			GetClientCertificate: func(asked *tls.CertificateRequestInfo) (*tls.Certificate, error) {
				if slices.ContainsFunc(asked.AcceptableCAs, func(name []byte) bool { return bytes.Equal(name, subject) }) {
					n++
				}
				return &tls.Certificate{}, nil
			}})
		if err := client.HandshakeContext(b.ctx); err != nil {
			b.t.Fatal(err)
		}
		_ = raw.Close()
	}
	return n
}

// Istiods judge clients' certificates by the roots of their start: whoever has a leaked key
// would go on getting certificates of the new CA, for any identity, from those that were
// not restarted.
func TestLeakedKeyGetsNoCertificates(t *testing.T) {
	for name, row := range map[string]struct {
		strategy rotation.Strategy
		mesh     func(*rehearsal.Spec)
		reason   rotation.Reason
		left     int
	}{
		"hot":            {rotation.HotBundle, nil, rotation.Compromised, 0},
		"waves":          {rotation.BundleByRestart, mixed, rotation.Compromised, 0},
		"no key is lost": {rotation.HotBundle, nil, rotation.Expiring, 2},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, row.mesh)
				b.config.Strategy, b.config.Reason, b.engine.Timeout = row.strategy, row.reason, time.Hour
				if err := b.run(); err != nil {
					t.Fatal(err)
				}
				b.whole()
				b.ended()
				if n := b.takesClientsOf(b.oldRoot.Cert.X509.RawSubject); n != row.left {
					t.Errorf("%d istiods take certificates that the old root has signed, and not %d", n, row.left)
				}
				if n := b.takesClientsOf(b.new.Roots.Certs[0].X509.RawSubject); row.left == 0 && n != 2 {
					t.Errorf("%d istiods take those of the new one", n)
				}
			})
		})
	}
}

// Who shows istiods a certificate and has come in the middle, when the step was behind that
// restarts them for those, is not refused for what the new CA has signed. Where nobody does
// it is said at the end, and in the plan.
func TestClientsWithCertificatesComeLate(t *testing.T) {
	for name, row := range map[string]struct {
		come        rotation.Phase // once it is proven
		takes, said int
	}{
		"nobody":                 {"", 0, 1},
		"both roots are trusted": {rotation.TrustNew, 2, 0},
		"the new CA signs":       {rotation.SignNew, 2, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, func(s *rehearsal.Spec) { s.TTL = time.Hour })
				b.engine.Timeout, b.engine.Until = 24*time.Hour, row.come
				if err := b.run(); err != nil {
					t.Fatal(err)
				}
				if row.come != "" {
					if err := b.mesh.StartWorkload(rehearsal.Workload{Namespace: "b", Name: "shows", Proxies: 2, Env: map[string]string{"PROV_CERT": "/etc/certs"}}); err != nil {
						t.Fatal(err)
					}
					b.engine.Until = ""
					if err := b.run(); err != nil {
						t.Fatal(err)
					}
				}
				b.whole()
				b.ended()
				if n := b.takesClientsOf(b.new.Roots.Certs[0].X509.RawSubject); n != row.takes {
					t.Errorf("%d istiods take certificates of the new CA, want %d", n, row.takes)
				}
				said, planned := 0, 0
				for _, e := range b.events {
					if e.Kind == rotation.EventWarning && strings.Contains(e.Message, "judging whoever shows them a certificate by the roots of their start") {
						said++
					}
					if e.Plan != nil {
						planned = len(e.Plan.Afterwards)
					}
				}
				if said != row.said || planned != row.said {
					t.Errorf("said %d times, and planned %d, want %d", said, planned, row.said)
				}
			})
		})
	}
}

// On the way back too: istiods that were started anew under the new root, by an upgrade or
// a node's drain, would refuse whoever shows a certificate of the old CA again.
func TestClientsWithCertificatesGoBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, func(s *rehearsal.Spec) {
			s.TTL = time.Hour
			s.Workloads = append(s.Workloads, rehearsal.Workload{Namespace: "b", Name: "shows", Proxies: 2, Env: map[string]string{"PROV_CERT": "/etc/certs"}})
		})
		b.config.Strategy, b.engine.Timeout = rotation.BundleByRestart, 24*time.Hour
		if err := b.run(); err != nil {
			t.Fatal(err)
		}
		b.ended()
		b.restartIstiods()
		b.engine.Back = true
		if err := b.run(); err != nil {
			t.Fatal(err)
		}
		b.restored()
		time.Sleep(4 * time.Hour)
		b.whole()
		if n := b.takesClientsOf(b.oldRoot.Cert.X509.RawSubject); n != 2 {
			t.Errorf("%d of 2 istiods take certificates of the CA that signs", n)
		}
	})
}
