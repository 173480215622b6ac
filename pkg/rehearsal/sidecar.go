package rehearsal

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"fmt"
	"slices"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/pki"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// sidecar is an agent and its Envoy: what it presents, and whom it trusts.
type sidecar struct {
	mesh            *Mesh
	namespace, name string
	chain           []*pki.Certificate
	answered        []*pki.Certificate // the roots of the last answer to a request
	pushed          []byte             // the bundle that came by PCDS
	updated         time.Time
	generation      int
}

func (p *sidecar) ref() string { return p.namespace + "/" + p.name }

// roots are the union of both sources, sorted, as the agent serves ROOTCA.
func (p *sidecar) roots() []*pki.Certificate {
	all := slices.Clone(p.answered)
	if bundle, err := pki.ParseBundle(p.pushed); err == nil {
		all = append(all, bundle.Certs...)
	}
	var roots []*pki.Certificate
	for _, c := range pki.NewSet(all...) {
		roots = append(roots, c)
	}
	slices.SortFunc(roots, func(a, b *pki.Certificate) int { return slices.Compare(a.DER, b.DER) })
	return roots
}

func (m *Mesh) startProxy(namespace, name string) error {
	p := &sidecar{mesh: m, namespace: namespace, name: name}
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, UID: types.UID(p.ref()), Labels: map[string]string{"istio.io/rev": "default", "app": name}}}
	pod.Spec.ServiceAccountName = "default"
	pod.Spec.Containers = []corev1.Container{{Name: "istio-proxy", Image: "istio/proxyv2:" + m.spec.Release, Args: []string{"proxy", "sidecar"}, Env: []corev1.EnvVar{
		{Name: "PROXY_CONFIG_XDS_AGENT", Value: fmt.Sprint(m.spec.XDSAgent)}, {Name: "SECRET_TTL", Value: m.spec.TTL.String()},
	}}}
	pod.Status = corev1.PodStatus{Phase: corev1.PodRunning, ContainerStatuses: []corev1.ContainerStatus{{Name: "istio-proxy", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}}}
	if err := m.Kube.Tracker().Add(pod); err != nil {
		return err
	}
	m.proxies = append(m.proxies, p)
	if m.spec.XDSAgent {
		p.pushed = m.connected(len(m.proxies) - 1).roots
	}
	p.request(len(m.proxies) - 1)
	return nil
}

// request asks a replica for a new certificate and takes its roots with it; the
// next one is asked for at half of its life.
func (p *sidecar) request(replica int) {
	m := p.mesh
	i := m.connected(replica)
	if i == nil {
		return
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return
	}
	leaf, err := i.signer.IssueLeaf(pki.LeafRequest{SPIFFE: "spiffe://cluster.local/ns/" + p.namespace + "/sa/default", Public: key.Public(), Now: m.clock.Now(), Lifetime: m.spec.TTL})
	if err != nil {
		return
	}
	chain, errChain := pki.ParseBundle(i.chain)
	roots, errRoots := pki.ParseBundle(i.roots)
	if errChain != nil || errRoots != nil {
		return
	}
	p.chain = append([]*pki.Certificate{leaf}, chain.Certs...)
	p.answered, p.updated = roots.Certs, m.clock.Now()
	p.generation++
	generation := p.generation
	m.after(m.spec.TTL/2, func() {
		if p.generation == generation {
			p.request(replica)
			m.shake()
		}
	})
}

// StartProxy adds a proxy to the running mesh.
func (m *Mesh) StartProxy(namespace, name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.startProxy(namespace, name); err != nil {
		return err
	}
	m.shake()
	return nil
}
