package mesh

import (
	"context"
	"slices"

	"github.com/meshca/kubectl-meshca/pkg/pki"
	"github.com/meshca/kubectl-meshca/pkg/proxy"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// DefaultCRLConfigMap is where istiod writes the CRL of a plugged CA, in every namespace
// (istio 1.30.3 pilot/pkg/features/experimental.go:202, PILOT_CRL_CONFIGMAP).
const DefaultCRLConfigMap = "istio-ca-crl"

// CRLMap is the ConfigMap of a namespace that brings a CRL to its pods. Istiod writes it
// empty where it has loaded none, and never empties it of one that it has: what was taken
// out of the CA Secret stays until the last istiod of before is gone (istio 1.30.3
// pilot/pkg/keycertbundle/watcher.go:88, pilot/pkg/bootstrap/istio_ca.go:370).
type CRLMap struct {
	Name string `json:"name"`
	// InForce is true where it holds anything at all.
	InForce bool `json:"inForce,omitempty"`
	// Error says why that is not known.
	Error string `json:"error,omitempty"`
}

// revocations reads the CRLs' ConfigMaps of all namespaces. Nothing that is known of live
// Envoys rests on them, for these show their own.
func (g *gatherer) revocations(ctx context.Context) {
	for _, name := range crlConfigMaps(g.s.ControlPlanes) {
		found, err := configMapsOf(ctx, g, name, crlMapOf)
		maps := make([]*CRLMap, len(g.s.Namespaces))
		if refused(err) {
			g.eachConfigMap(ctx, name, g.s.Namespaces, func(i int, cm *corev1.ConfigMap, err error) {
				switch {
				case err == nil:
					maps[i] = crlMapOf(cm)
				case !apierrors.IsNotFound(err):
					maps[i] = &CRLMap{Name: name, Error: "it was not read: " + err.Error()}
				}
			})
			err = nil
		}
		for i := range g.s.Namespaces {
			n, m := &g.s.Namespaces[i], maps[i]
			switch {
			case err != nil:
				m = &CRLMap{Name: name, Error: "it was not read: " + err.Error()}
			case m == nil:
				m = found[n.Name]
			}
			// Of several control planes' the one counts that is in force, or may be.
			if m != nil && (n.CRL == nil || m.InForce || m.Error != "" && !n.CRL.InForce) {
				n.CRL = m
			}
		}
	}
}

// crlConfigMaps are their names, none where no istiod knows of CRLs: they came with 1.27.
func crlConfigMaps(planes []ControlPlane) (names []string) {
	for _, plane := range planes {
		if name := plane.Flags.CRLConfigMap; name != "" && !plane.citadel && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

func crlMapOf(cm *corev1.ConfigMap) *CRLMap {
	return &CRLMap{Name: cm.Name, InForce: cm.Data[pki.CRLFile] != ""}
}

// CRLs are what a proxy judges the peers of one identity by besides its roots, nil where
// it has none. A ztunnel does not tell: where it reads a file of them (CRL_PATH, istio
// 1.30.3 manifests/charts/ztunnel/templates/daemonset.yaml:177) its namespace's ConfigMap
// says whether there is anything in it.
func (s *Snapshot) CRLs(p Proxy, i proxy.Identity) *pki.CRLs {
	if i.CRLs != nil || !p.ReadsCRL || p.Kind != Ztunnel {
		return i.CRLs
	}
	at := slices.IndexFunc(s.Namespaces, func(n Namespace) bool { return n.Name == p.Namespace })
	switch {
	case at < 0:
		return pki.UnknownCRLs("a ztunnel does not show its own, and the ConfigMap of its namespace was not read")
	case s.Namespaces[at].CRL == nil:
		return nil
	case s.Namespaces[at].CRL.Error != "":
		return pki.UnknownCRLs("a ztunnel does not show its own, and of the ConfigMap of its namespace: " + s.Namespaces[at].CRL.Error)
	case s.Namespaces[at].CRL.InForce:
		return pki.UnknownCRLs("a ztunnel does not show its own, and the ConfigMap of its namespace has one")
	}
	return nil
}

// CRLUse is who has a CRL.
type CRLUse struct {
	// Secrets are the CA Secrets that hold one, Proxies those that judge by one, and
	// Namespaces those whose next pods will.
	Secrets, Proxies, Namespaces []string
	// Unread are the namespaces of which that is not known, and Why.
	Unread []string
	Why    string
}

// InForce reports whether anybody has one.
func (u CRLUse) InForce() bool { return len(u.Secrets)+len(u.Proxies)+len(u.Namespaces) > 0 }

// CRLUse tells who has a CRL.
func (s *Snapshot) CRLUse() (u CRLUse) {
	for _, plane := range s.ControlPlanes {
		if ref := plane.CA.Namespace + "/" + plane.CA.Secret; plane.CA.HasCRL && !slices.Contains(u.Secrets, ref) {
			u.Secrets = append(u.Secrets, ref)
		}
	}
	for _, p := range s.Proxies {
		if p.Loaded != nil && slices.ContainsFunc(p.Loaded.Identities, func(i proxy.Identity) bool { return s.CRLs(p, i) != nil }) {
			u.Proxies = append(u.Proxies, p.Ref())
		}
	}
	for _, n := range s.Namespaces {
		switch {
		case n.CRL == nil:
		case n.CRL.Error != "":
			u.Unread, u.Why = append(u.Unread, n.Name), n.CRL.Error
		case n.CRL.InForce:
			u.Namespaces = append(u.Namespaces, n.Name)
		}
	}
	return u
}
