package rehearsal

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"slices"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/pki"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// crlConfigMap is where istiod writes the CRL of its CA, from 1.27 on.
const crlConfigMap = "istio-ca-crl"

// knowsCRLs: the release reads, writes and mounts them.
func knowsCRLs(release string) bool { return fixed(release, "1.27.0") }

// lists are the CRLs that a start, or a reload, takes from the Secret; nil where it has
// none, which takes none back (istio 1.30.3 pilot/pkg/keycertbundle/watcher.go:88). Every
// certificate of the chain must have one (security/pkg/pki/util/keycertbundle.go:430).
func (i *istiod) lists(secret *corev1.Secret) ([]byte, error) {
	raw := secret.Data[pki.CRLFile]
	if len(raw) == 0 || !knowsCRLs(i.plane.Release) || secret.Name != pluggedSecret || secret.Data["tls.crt"] != nil {
		return nil, nil
	}
	var lists []*x509.RevocationList
	for rest := raw; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		list, err := x509.ParseRevocationList(block.Bytes)
		if err != nil {
			return nil, err
		}
		lists = append(lists, list)
	}
	bundle, err := pki.ParseBundle(secret.Data[pki.ChainFile])
	if err != nil {
		return nil, nil //nolint:nilerr // no chain asks for none
	}
	for _, c := range bundle.Certs {
		if !slices.ContainsFunc(lists, func(l *x509.RevocationList) bool { return l.CheckSignatureFrom(c.X509) == nil }) {
			return nil, errors.New("missing CRL signed by certificates: " + c.Subject())
		}
	}
	return raw, nil
}

// publishCRL is what the leader writes into every namespace, empty where it has none.
func (m *Mesh) publishCRL(leader *istiod) {
	if !knowsCRLs(leader.plane.Release) {
		return
	}
	for _, n := range append(m.meshed(), istioNamespace) {
		object, err := m.Kube.Tracker().Get(configMaps(), n, crlConfigMap)
		cm, _ := object.(*corev1.ConfigMap)
		data := map[string]string{pki.CRLFile: string(leader.crl)}
		switch {
		case err != nil:
			cm = &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: crlConfigMap, Namespace: n, ResourceVersion: "1", Labels: map[string]string{"istio.io/config": "true"}}, Data: data}
			_ = m.Kube.Tracker().Create(configMaps(), cm, n) // the namespace may be gone
			if len(leader.crl) == 0 {
				continue // a pod reads the same of it as of none
			}
		case cm.Data[pki.CRLFile] == string(leader.crl):
			continue
		default:
			cm = cm.DeepCopy()
			cm.Data, cm.ResourceVersion = data, versionOf(cm.ResourceVersion)
			_ = m.Kube.Tracker().Update(configMaps(), cm, n)
		}
		m.after(m.spec.FileLag, func() {
			for _, p := range m.proxies {
				if p.namespace == n {
					p.mountCRL()
				}
			}
		})
	}
}

// mountCRL brings the file to a sidecar's Envoy, which reads it again by itself. Gateways
// and waypoints mount none.
func (p *sidecar) mountCRL() {
	if p.vm || !knowsCRLs(p.release()) || p.workload.Kind != "" && p.workload.Kind != mesh.Sidecar {
		return
	}
	text := ""
	if object, err := p.mesh.Kube.Tracker().Get(configMaps(), p.namespace, crlConfigMap); err == nil {
		text = object.(*corev1.ConfigMap).Data[pki.CRLFile]
	}
	crls, ok := p.mesh.crls[text]
	if !ok {
		crls = pki.ParseCRLs([]byte(text))
		p.mesh.crls[text] = crls
	}
	if crls != p.crls {
		p.crls = crls
		p.mesh.change()
	}
}

// edges are when one of them begins or ends.
func edges(crls *pki.CRLs) (all []time.Time) {
	if crls == nil {
		return nil
	}
	for _, l := range crls.Lists() {
		all = append(all, l.ThisUpdate, l.NextUpdate)
	}
	return all
}

// MountCRL has every ConfigMap hold this text, as an istiod may have written it, and every
// sidecar follow.
func (m *Mesh) MountCRL(text []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, i := range m.istiods {
		i.crl = text
	}
	if leader := m.leader(); leader != nil {
		m.publishCRL(leader)
	}
	for _, p := range m.proxies {
		p.mountCRL()
	}
}
