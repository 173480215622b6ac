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
	"slices"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/pki"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	security "istio.io/api/security/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// istiod is one replica: what it has in memory.
type istiod struct {
	security.UnimplementedIstioCertificateServiceServer
	mesh    *Mesh
	plane   *plane
	name    string
	plugged bool // it watches cacerts
	signer  *pki.Authority
	chain   []byte // cert-chain.pem
	roots   []byte // root-cert.pem
	crl     []byte // ca-crl.pem, as it was when there last was one
	serves  tls.Certificate
	serving []*pki.Certificate // the same, as peers see it
	// verifier are the roots of its start, by which clients with certificates are
	// judged until it ends.
	verifier []*pki.Certificate
}

// servingLifetime is that of istiod's own certificate (istio 1.30.3
// pilot/pkg/bootstrap/certcontroller.go).
const servingLifetime = 10 * 365 * 24 * time.Hour

const (
	pluggedSecret    = "cacerts"
	selfSignedSecret = "istio-ca-secret"
)

// startIstiod starts a replica, which loads what the Secrets hold now: a complete
// cacerts, else its own.
func (m *Mesh) startIstiod(p *plane) error {
	m.started++
	i := &istiod{mesh: m, plane: p, name: fmt.Sprintf("%s-1-%d", p.deployment, m.started)}
	if err := i.start(); err != nil {
		return err
	}
	bundle, err := pki.ParseBundle(i.roots)
	if err != nil {
		return err
	}
	i.verifier = bundle.Certs
	if err := m.Kube.Tracker().Add(i.pod()); err != nil {
		return err
	}
	m.istiods = append(m.istiods, i)
	if len(m.proxies) > 0 { // not the first start
		if m.leader() == i {
			m.publish(i)
			m.publishCRL(i)
		}
		m.patchWebhooks(i)
		m.reconnect()
	}
	if !i.plugged {
		// Its rotator looks first after an interval and its jitter, then hourly (C3).
		m.after(time.Hour+m.random(time.Hour), i.tick)
	}
	return nil
}

// start loads the CA that the release takes from what is mounted.
func (i *istiod) start() error {
	plugged, err := i.mesh.secret(pluggedSecret)
	if err == nil {
		whole, beside := i.complete(plugged)
		switch {
		case whole:
			i.plugged = true
			return i.load(plugged)
		case beside == nil:
			return errors.New("istiod does not start: incomplete signing CA bundle detected")
		}
		own, err := i.mesh.secret(selfSignedSecret)
		if err != nil {
			return err
		}
		if err := i.load(own); err != nil {
			return err
		}
		// AppendRootCerts: the roots that are mounted come behind its own.
		i.roots = append(bytes.Clone(i.roots), beside...)
		return nil
	}
	own, err := i.mesh.secret(selfSignedSecret)
	if err != nil {
		return err
	}
	return i.load(own)
}

// complete reports whether a cacerts is taken as the CA. Where not, before 1.26.1
// istiod signs with its own and hands out the roots that lie beside (20a7fe40e13);
// nil where it does not start. The layout of kubernetes.io/tls is read since 1.14.2.
func (i *istiod) complete(secret *corev1.Secret) (whole bool, beside []byte) {
	names := []string{pki.CertFile, pki.KeyFile, pki.ChainFile, pki.RootFile}
	if secret.Data["tls.crt"] != nil {
		if !fixed(i.plane.Release, "1.14.2") {
			return false, []byte{}
		}
		names = []string{"tls.crt", "tls.key", "ca.crt"}
	}
	for _, name := range names {
		if _, ok := secret.Data[name]; ok {
			continue
		}
		if fixed(i.plane.Release, "1.26.1") || name != pki.KeyFile && secret.Data[pki.KeyFile] != nil {
			return false, nil
		}
		return false, append([]byte{}, secret.Data[pki.RootFile]...)
	}
	return true, nil
}

func (m *Mesh) secret(name string) (*corev1.Secret, error) {
	object, err := m.Kube.Tracker().Get(corev1.SchemeGroupVersion.WithResource("secrets"), istioNamespace, name)
	if err != nil {
		return nil, err
	}
	return object.(*corev1.Secret), nil
}

func (i *istiod) pod() *corev1.Pod {
	p, controller := i.plane, true
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: istioNamespace, Name: i.name, UID: types.UID(i.name), Labels: p.labels(), ResourceVersion: "1"}}
	pod.Labels["pod-template-hash"] = "1"
	pod.OwnerReferences = []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: p.deployment + "-1", Controller: &controller}}
	pod.Spec.NodeName = nodeName
	pod.Spec.Containers = []corev1.Container{{Name: "discovery", Image: "istio/pilot:" + p.Release, Env: p.env()}}
	started := metav1.NewTime(i.mesh.clock.Now())
	pod.Status = corev1.PodStatus{Phase: corev1.PodRunning, StartTime: &started, Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}}
	return pod
}

func (m *Mesh) stopIstiod(i *istiod) {
	led := m.leader() == i
	for n, other := range m.istiods {
		if other == i {
			m.istiods = append(m.istiods[:n:n], m.istiods[n+1:]...)
			break
		}
	}
	_ = m.Kube.Tracker().Delete(corev1.SchemeGroupVersion.WithResource("pods"), istioNamespace, i.name) // gone is gone
	if next := m.leader(); led && next != nil {
		m.publish(next)
		m.publishCRL(next)
	}
	m.reconnect()
}

func (i *istiod) lives() bool {
	for _, other := range i.mesh.istiods {
		if other == i {
			return true
		}
	}
	return false
}

// files are the Secret's entries in the order of pki.Files.
func files(secret *corev1.Secret) pki.Files {
	of := func(name string) pki.File { return pki.File{Name: name, Data: secret.Data[name]} }
	switch {
	case secret.Name == selfSignedSecret:
		return pki.Files{Root: of(pki.CertFile), CACert: of(pki.CertFile), CAKey: of(pki.KeyFile)}
	case secret.Data["tls.crt"] != nil:
		// In this layout what follows the leaf is tls.crt and the roots (A1).
		chain := pki.File{Data: append(bytes.Clone(secret.Data["tls.crt"]), secret.Data["ca.crt"]...)}
		return pki.Files{Root: of("ca.crt"), CACert: of("tls.crt"), CAKey: of("tls.key"), Chain: chain}
	}
	return pki.Files{Root: of(pki.RootFile), CACert: of(pki.CertFile), CAKey: of(pki.KeyFile), Chain: of(pki.ChainFile)}
}

// load takes the files as they are: what a start does.
func (i *istiod) load(secret *corev1.Secret) error {
	from := files(secret)
	ca, err := pki.ParseFiles(from)
	if err != nil {
		return fmt.Errorf("istiod does not start: %w", err)
	}
	at := i.mesh.clock.Now()
	if answer := pki.Verify(pki.Question{Judge: pki.Go, Roots: ca.Roots.Certs, Chain: append([]*pki.Certificate{ca.Cert}, ca.Chain...), At: at, Usage: pki.AnyUsage}); answer.Result != pki.Accepted {
		return errors.New("istiod does not start: " + answer.Reason)
	}
	crl, err := i.lists(secret)
	if err != nil {
		return fmt.Errorf("istiod does not start: %w", err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	leaf, err := ca.IssueLeaf(pki.LeafRequest{DNSNames: []string{"istiod.istio-system.svc", i.plane.deployment + ".istio-system.svc"}, Public: key.Public(), Now: at, Lifetime: servingLifetime})
	if err != nil {
		return err
	}
	i.signer, i.chain, i.roots = ca, from.Chain.Data, from.Root.Data
	if crl != nil {
		i.crl = crl
	}
	i.serves = tls.Certificate{Certificate: [][]byte{leaf.DER}, PrivateKey: key}
	i.serving = []*pki.Certificate{leaf}
	if bundle, err := pki.ParseBundle(i.chain); err == nil {
		for _, c := range bundle.Certs {
			i.serves.Certificate = append(i.serves.Certificate, c.DER)
			i.serving = append(i.serving, c)
		}
	}
	return nil
}

// follow brings a changed cacerts to every istiod's files, a kubelet's lag later,
// each replica a little after the other.
func (m *Mesh) follow(secret *corev1.Secret) {
	m.after(0, func() { // with the lock that whoever writes may hold
		if m.latest == nil || newer(secret, m.latest) {
			m.latest = secret
		}
		for n, i := range m.istiods {
			// What is there by then, not what was there when it began to follow.
			m.after(m.spec.Lag+m.spec.Lag/4*time.Duration(n), func() { i.changed(m.latest) })
		}
	})
}

// newer reports whether a was written after b; one that is made anew has no version yet, and
// here they begin again with it.
func newer(a, b *corev1.Secret) bool {
	if a.ResourceVersion == "" {
		return true
	}
	var of, than int
	fmt.Sscan(a.ResourceVersion, &of)
	fmt.Sscan(b.ResourceVersion, &than)
	return of > than
}

// changed is istiod's handleEvent.
func (i *istiod) changed(secret *corev1.Secret) {
	if i.mesh.held[i.name] || !i.plugged || !i.lives() || !i.plane.reloads() {
		return
	}
	roots := files(secret).Root.Data
	differ := !bytes.Equal(roots, i.roots)
	if differ && (!i.plane.MultiRoot || !fixed(i.plane.Release, "1.20.0") || !i.subset(roots)) {
		return // the old CA stays in memory, and the new one waits on disk
	}
	if !differ && ignoresSigner(i.plane.Release) {
		return
	}
	if i.load(secret) == nil {
		i.tell(differ)
	}
}

// tick is the self-signed CA's rotator, which takes whatever the Secret holds. An
// interval of 0 turns it off (istio 1.30.3 security/pkg/cmd/constants.go:25).
func (i *istiod) tick() {
	if !i.lives() || i.plane.Env["CITADEL_SELF_SIGNED_ROOT_CERT_CHECK_INTERVAL"] == "0" {
		return
	}
	i.renew()
	if secret, err := i.mesh.secret(selfSignedSecret); err == nil && !bytes.Equal(files(secret).Root.Data, i.roots) && i.load(secret) == nil {
		i.tell(true)
	}
	i.mesh.after(time.Hour, i.tick)
}

// tell is what follows a reload: ConfigMaps by the leader,
// webhooks by everybody, and the bundle to the agents connected to this replica,
// who ask for a new certificate, wherever that request lands.
func (i *istiod) tell(roots bool) {
	m := i.mesh
	if m.leader() == i {
		m.publishCRL(i)
	}
	if roots {
		if m.leader() == i {
			m.publish(i)
		}
		m.patchWebhooks(i)
		m.reconnect()
	}
	m.change()
}

// subset: by bytes below 1.30, by certificates from then on.
func (i *istiod) subset(roots []byte) bool {
	if !fixed(i.plane.Release, "1.30.0") {
		return bytes.Contains(roots, i.roots) || bytes.Contains(i.roots, roots)
	}
	a, errA := pki.ParseBundle(i.roots)
	b, errB := pki.ParseBundle(roots)
	return errA == nil && errB == nil && (a.Set().Contains(b.Set()) || b.Set().Contains(a.Set()))
}

// answer is what follows the leaf in an answer to a request, element by element:
// the chain, and the roots as the last.
func (i *istiod) answer() []string {
	var all []string
	split := func(raw []byte) {
		if bundle, err := pki.ParseBundle(raw); err == nil {
			for _, c := range bundle.Certs {
				all = append(all, string(c.PEM()))
			}
		}
	}
	switch {
	case len(bytes.TrimSpace(i.chain)) == 0:
	case flattens(i.plane.Release):
		split(i.chain)
	default:
		all = append(all, string(i.chain))
	}
	if splitsRoots(i.plane.Release) {
		split(i.roots)
		return all
	}
	return append(all, string(i.roots))
}

// CreateCertificate signs, as the real one does: leaf, chain, roots.
func (i *istiod) CreateCertificate(ctx context.Context, r *security.IstioCertificateRequest) (*security.IstioCertificateResponse, error) {
	if got := metadata.ValueFromIncomingContext(ctx, "authorization"); !slices.Contains(got, "Bearer "+i.mesh.token()) {
		return nil, status.Error(codes.Unauthenticated, "request authenticate failure")
	}
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
	return &security.IstioCertificateResponse{CertChain: append([]string{string(leaf.PEM())}, i.answer()...)}, nil
}
