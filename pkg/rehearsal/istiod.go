package rehearsal

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/pki"
	security "istio.io/api/security/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// istiod is one replica: what it has in memory.
type istiod struct {
	security.UnimplementedIstioCertificateServiceServer
	mesh   *Mesh
	name   string
	signer *pki.Authority
	chain  []byte // cert-chain.pem
	roots  []byte // root-cert.pem
	serves tls.Certificate
}

// servingLifetime is that of istiod's own certificate (istio 1.30.3
// pilot/pkg/bootstrap/certcontroller.go).
const servingLifetime = 10 * 365 * 24 * time.Hour

// startIstiod starts a replica, which loads what the Secret holds now.
func (m *Mesh) startIstiod() error {
	secret, err := m.Kube.CoreV1().Secrets(istioNamespace).Get(m.ctx, "cacerts", metav1.GetOptions{})
	if err != nil {
		return err
	}
	m.started++
	i := &istiod{mesh: m, name: fmt.Sprintf("istiod-1-%d", m.started)}
	if err := i.load(secret.Data); err != nil {
		return err
	}
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: istioNamespace, Name: i.name, UID: types.UID(i.name), Labels: map[string]string{"app": "istiod", "istio": "pilot"},
		OwnerReferences: []metav1.OwnerReference{{Kind: "ReplicaSet", Name: "istiod-1"}}}}
	pod.Spec.Containers = []corev1.Container{{Name: "discovery", Image: "istio/pilot:" + m.spec.Release}}
	started := metav1.NewTime(m.clock.Now())
	pod.Status = corev1.PodStatus{Phase: corev1.PodRunning, StartTime: &started, Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}}
	if _, err := m.Kube.CoreV1().Pods(istioNamespace).Create(m.ctx, pod, metav1.CreateOptions{}); err != nil {
		return err
	}
	m.istiods = append(m.istiods, i)
	if len(m.proxies) > 0 { // not the first start
		m.publish(i)
		m.patchWebhooks(i)
	}
	return nil
}

func (m *Mesh) stopIstiod(i *istiod) {
	for n, other := range m.istiods {
		if other == i {
			m.istiods = append(m.istiods[:n:n], m.istiods[n+1:]...)
			break
		}
	}
	_ = m.Kube.CoreV1().Pods(istioNamespace).Delete(m.ctx, i.name, metav1.DeleteOptions{})
}

// load takes the files as they are: what a start does.
func (i *istiod) load(data map[string][]byte) error {
	ca, err := pki.ParseFiles(pki.Files{Root: pki.File{Data: data[pki.RootFile]}, CACert: pki.File{Data: data[pki.CertFile]}, CAKey: pki.File{Data: data[pki.KeyFile]}, Chain: pki.File{Data: data[pki.ChainFile]}})
	if err != nil {
		return fmt.Errorf("istiod does not start: %w", err)
	}
	at := i.mesh.clock.Now()
	if answer := pki.Verify(pki.Question{Judge: pki.Go, Roots: ca.Roots.Certs, Chain: append([]*pki.Certificate{ca.Cert}, ca.Chain...), At: at, Usage: pki.AnyUsage}); answer.Result != pki.Accepted {
		return errors.New("istiod does not start: " + answer.Reason)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	leaf, err := ca.IssueLeaf(pki.LeafRequest{DNSNames: []string{"istiod.istio-system.svc"}, Public: key.Public(), Now: at, Lifetime: servingLifetime})
	if err != nil {
		return err
	}
	i.signer, i.chain, i.roots = ca, data[pki.ChainFile], data[pki.RootFile]
	i.serves = tls.Certificate{Certificate: [][]byte{leaf.DER}, PrivateKey: key}
	if bundle, err := pki.ParseBundle(i.chain); err == nil {
		for _, c := range bundle.Certs {
			i.serves.Certificate = append(i.serves.Certificate, c.DER)
		}
	}
	return nil
}

// follow brings a changed Secret to every istiod's files, a kubelet's lag later,
// each replica a little after the other.
func (m *Mesh) follow(secret *corev1.Secret) {
	m.after(0, func() { // with the lock that whoever writes may hold
		for n, i := range m.istiods {
			m.after(m.spec.Lag+m.spec.Lag/4*time.Duration(n), func() {
				// What is there by then, not what was written when it began to follow.
				if now, err := m.Kube.Tracker().Get(corev1.SchemeGroupVersion.WithResource("secrets"), istioNamespace, secret.Name); err == nil {
					i.changed(now.(*corev1.Secret).Data)
				}
			})
		}
	})
}

// changed is istiod's handleEvent (istio-facts B2, B3).
func (i *istiod) changed(data map[string][]byte) {
	m := i.mesh
	if m.held[i.name] {
		return
	}
	rootsDiffer := !bytes.Equal(data[pki.RootFile], i.roots)
	if rootsDiffer && (!m.spec.MultiRoot || mesh.Before(m.spec.Release, "1.20.0") || !i.subset(data[pki.RootFile])) {
		return // the old CA stays in memory, and the new one waits on disk
	}
	if i.load(data) != nil {
		return
	}
	if !rootsDiffer {
		m.shake()
		return
	}
	if len(m.istiods) > 0 && m.istiods[0] == i {
		m.publish(i)
	}
	m.patchWebhooks(i)
	// PCDS: the agents connected to this replica take the bundle and ask for a new
	// certificate, wherever that request lands.
	for n, p := range m.proxies {
		if m.spec.XDSAgent && m.connected(n) == i {
			p.pushed = i.roots
			p.request(n + 1)
		}
	}
	m.shake()
}

// subset: by bytes below 1.30, by certificates from then on.
func (i *istiod) subset(roots []byte) bool {
	if mesh.Before(i.mesh.spec.Release, "1.30.0") {
		return bytes.Contains(roots, i.roots) || bytes.Contains(i.roots, roots)
	}
	a, errA := pki.ParseBundle(i.roots)
	b, errB := pki.ParseBundle(roots)
	return errA == nil && errB == nil && (a.Set().Contains(b.Set()) || b.Set().Contains(a.Set()))
}

// connected is the replica that a proxy's stream goes to.
func (m *Mesh) connected(proxy int) *istiod {
	if len(m.istiods) == 0 {
		return nil
	}
	return m.istiods[proxy%len(m.istiods)]
}

// CreateCertificate signs, as the real one does: leaf, chain, roots.
func (i *istiod) CreateCertificate(_ context.Context, r *security.IstioCertificateRequest) (*security.IstioCertificateResponse, error) {
	block, _ := pem.Decode([]byte(r.GetCsr()))
	if block == nil {
		return nil, errors.New("no request")
	}
	request, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return nil, err
	}
	i.mesh.mu.Lock()
	defer i.mesh.mu.Unlock()
	leaf, err := i.signer.IssueLeaf(pki.LeafRequest{SPIFFE: "spiffe://cluster.local/ns/istio-system/sa/" + mesh.ProbeAccount, Public: request.PublicKey,
		Now: i.mesh.clock.Now(), Lifetime: time.Duration(r.GetValidityDuration()) * time.Second})
	if err != nil {
		return nil, err
	}
	return &security.IstioCertificateResponse{CertChain: []string{string(leaf.PEM()), string(i.chain), string(i.roots)}}, nil
}
