package plugin_test

import (
	"context"
	"crypto/x509/pkix"
	"fmt"
	"os"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/pki"
	"github.com/meshca/kubectl-meshca/pkg/proxy"
	"github.com/meshca/kubectl-meshca/pkg/rehearsal"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

type wall struct{}

func (wall) Now() time.Time                         { return time.Now() }
func (wall) After(d time.Duration) <-chan time.Time { return time.After(d) }

// saveMesh writes, into the folder it is run in, a snapshot of a rehearsed mesh
// (mesh.json) with the fault named, a new CA to rotate to, and the old root's key.
func saveMesh(fault string) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	root, old, err := newCA("A", pki.RootLifetime)
	if err != nil {
		return err
	}
	if fault == "ends-soon" {
		if root, old, err = newCA("A", 20*24*time.Hour); err != nil {
			return err
		}
	}
	newRoot, signer, err := newCA("B", pki.RootLifetime)
	if err != nil {
		return err
	}
	if err := save(root, newRoot, signer); err != nil {
		return err
	}
	spec := rehearsal.Spec{CA: old, MultiRoot: true, XDSAgent: true, Release: "1.30.3", Replicas: 2, Namespaces: []string{"a", "b"}, Proxies: 2, TTL: 24 * time.Hour, Lag: time.Second}
	switch fault {
	case "cold":
		spec.MultiRoot, spec.XDSAgent = false, false
	case "bad-release":
		spec.Release = "1.25.1"
	case "unknown-release":
		spec.Release = "latest"
	}
	m, err := rehearsal.New(ctx, wall{}, spec)
	if err != nil {
		return err
	}
	switch fault {
	case "stale":
		immutable := true
		cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "b", Name: "istio-ca-root-cert"}, Immutable: &immutable, Data: map[string]string{"root-cert.pem": string(newRoot.Cert.PEM())}}
		if _, err := m.Kube.CoreV1().ConfigMaps("b").Update(ctx, cm, metav1.UpdateOptions{}); err != nil {
			return err
		}
	case "unreadable":
		m.Freeze("b/app-1")
	case "owned":
		secret, err := m.Kube.CoreV1().Secrets("istio-system").Get(ctx, "cacerts", metav1.GetOptions{})
		if err != nil {
			return err
		}
		secret.Annotations = map[string]string{"cert-manager.io/certificate-name": "istio-ca"}
		if _, err := m.Kube.CoreV1().Secrets("istio-system").Update(ctx, secret, metav1.UpdateOptions{}); err != nil {
			return err
		}
	}
	s, err := (&mesh.Collector{Kube: m.Kube, Dialer: m, Now: time.Now}).Collect(ctx)
	if err != nil {
		return err
	}
	s.Gaps = nil                                 // there is no dynamic client here, and no virtual machine
	for i := range s.ControlPlanes[0].Replicas { // no rehearsed istiod says who is connected to it
		s.ControlPlanes[0].Replicas[i].Clients = []proxy.Client{}
	}
	for _, p := range s.Proxies {
		first := &s.ControlPlanes[0].Replicas[0]
		first.Clients = append(first.Clients, proxy.Client{Proxy: p.Ref()})
	}
	switch fault {
	case "unseen":
		s.Gaps = []mesh.Gap{{Part: "workload entries", Verb: "list", Resource: "workloadentries", Error: "forbidden"}}
	case "unusable":
		s.Proxies[0].Loaded.Identities[0].State = "Unavailable: no\x1b[2J CA"
	}
	(&mesh.Prober{Kube: m.Kube, Dialer: m, Now: time.Now}).Probe(ctx, s, root.Roots.Certs)
	file, err := os.Create("mesh.json")
	if err != nil {
		return err
	}
	defer file.Close()
	return s.WriteJSON(file)
}

func newCA(name string, lifetime time.Duration) (root, signer *pki.Authority, err error) {
	root, err = pki.NewRoot(pki.Request{Subject: pkix.Name{CommonName: "root " + name}, Key: pki.ECDSAP256, Now: time.Now(), Lifetime: lifetime, PathLen: -1})
	if err != nil {
		return nil, nil, err
	}
	signer, err = root.NewIntermediate(pki.Request{Subject: pkix.Name{CommonName: "intermediate " + name}, Key: pki.ECDSAP256, Now: time.Now(), Lifetime: lifetime, PathLen: 0})
	return root, signer, err
}

func save(oldRoot, newRoot, signer *pki.Authority) error {
	files := map[string][]byte{"root.pem": newRoot.Roots.Raw, "ca.pem": signer.Cert.PEM(), "chain.pem": signer.Cert.PEM(), "up.pem": pki.NewBundle(signer.Cert, newRoot.Cert).Raw}
	for name, ca := range map[string]*pki.Authority{"ca-key.pem": signer, "old-root-key.pem": oldRoot} {
		key, err := pki.MarshalKey(ca.Key)
		if err != nil {
			return err
		}
		files[name] = key
	}
	for name, data := range files {
		if err := os.WriteFile(name, data, 0o600); err != nil {
			return fmt.Errorf("saving the new CA: %w", err)
		}
	}
	return nil
}
