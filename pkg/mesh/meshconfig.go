package mesh

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/meshca/kubectl-meshca/pkg/pki"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

// defaultTrustDomain is that of a mesh that names none (istio 1.30.3
// pkg/config/constants/constants.go).
const defaultTrustDomain = "cluster.local"

// meshSettings is what of meshConfig decides about trust.
type meshSettings struct {
	TrustDomain    string `json:"trustDomain"`
	CACertificates []struct {
		Pem             string `json:"pem"`
		SPIFFEBundleURL string `json:"spiffeBundleUrl"`
	} `json:"caCertificates"`
	DiscoverySelectors []metav1.LabelSelector `json:"discoverySelectors"`
	AuthPolicy         string                 `json:"authPolicy"`
	EnableAutoMTLS     *bool                  `json:"enableAutoMtls"`
	DefaultConfig      struct {
		ControlPlaneAuthPolicy string `json:"controlPlaneAuthPolicy"`
	} `json:"defaultConfig"`
}

// meshConfig reads the ConfigMap istio (istio-REVISION) of every control plane, or what is
// mounted instead, and the shared one that it may name (istio 1.30.3
// pilot/pkg/bootstrap/mesh.go:41).
func (g *gatherer) meshConfig(ctx context.Context) {
	g.s.TrustDomain = defaultTrustDomain
	domains, seen := map[string]bool{}, map[string]bool{}
	for _, plane := range g.s.ControlPlanes {
		name := "istio"
		if plane.Revision != "" && plane.Revision != "default" {
			name += "-" + plane.Revision
		}
		source := strings.Join([]string{plane.Namespace, name, plane.shared, plane.meshFile.name, plane.meshFile.key, plane.meshFile.elsewhere}, "/")
		if seen[source] {
			continue
		}
		seen[source] = true
		domain, selectors := "", 0
		for _, text := range g.meshConfigMaps(ctx, plane, name) { // the later counts
			settings := g.meshSettings(text)
			if settings.TrustDomain != "" {
				domain = settings.TrustDomain
			}
			g.mutual(settings)
			selectors += len(settings.DiscoverySelectors)
			g.selectors = append(g.selectors, settings.DiscoverySelectors...)
		}
		if domain != "" {
			domains[domain] = true
			g.s.TrustDomain = domain
		}
		if selectors == 0 {
			g.everywhere = true
		}
	}
	if len(domains) > 1 {
		g.gap("trust domain", "get", "configmaps", "", fmt.Errorf("the control planes have different ones: %s", strings.Join(slices.Sorted(maps.Keys(domains)), ", ")))
	}
}

// meshText is a mesh config: an entry of a ConfigMap.
type meshText struct {
	*corev1.ConfigMap
	key string
}

// meshConfigMaps are those of a control plane that are there, the shared one first. A Citadel
// has none of its own: Pilots do, which do not start without.
func (g *gatherer) meshConfigMaps(ctx context.Context, plane ControlPlane, name string) (all []meshText) {
	type place struct{ namespace, name string }
	file := plane.meshFile
	if file.name != "" {
		cm, known := g.meshConfigMap(ctx, plane.Namespace, file.name)
		if _, there := data(cm)[file.key]; known && !there {
			file = meshFile{} // no such file: istiod asks for its ConfigMap
		} else {
			name = file.name
		}
	}
	if file.elsewhere != "" {
		g.everywhere, name = true, ""
		g.gap("mesh config of "+plane.Namespace+"/"+plane.Name, "get", "configmaps", plane.Namespace, errors.New("it is a file in "+file.elsewhere+", and what that says is not known: leave it to the ConfigMap of its revision"))
	}
	places := []place{{plane.Namespace, plane.shared}, {plane.Namespace, name}}
	if plane.citadel {
		places = nil
		for _, namespace := range g.pilotHomes(ctx, plane.Namespace) {
			places = append(places, place{namespace, name})
		}
	}
	for _, p := range places {
		if p.name == "" {
			continue
		}
		cm, known := g.meshConfigMap(ctx, p.namespace, p.name)
		if cm != nil {
			key := meshKey
			if p.name == file.name {
				key = file.key
			}
			all = append(all, meshText{cm, key})
		} else if known && plane.citadel {
			g.beside("mesh config "+p.namespace+"/"+p.name, "get", "configmaps", p.namespace, errors.New("there is none, and a Citadel's mesh has one: what it says of mutual TLS is not known"))
		}
	}
	return all
}

// data is what a ConfigMap holds, of none nothing.
func data(cm *corev1.ConfigMap) map[string]string {
	if cm == nil {
		return nil
	}
	return cm.Data
}

// meshConfigMap is nil where there is none, so that built-in defaults count, and
// where it cannot be read, which leaves a Gap.
func (g *gatherer) meshConfigMap(ctx context.Context, namespace, name string) (cm *corev1.ConfigMap, known bool) {
	cm, err := g.Kube.CoreV1().ConfigMaps(namespace).Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, true
	}
	if err != nil {
		g.everywhere = true // no namespace is left out by what was not seen
		g.gap("mesh config "+namespace+"/"+name, "get", "configmaps", namespace, err)
		return nil, false
	}
	return cm, true
}

func (g *gatherer) meshSettings(cm meshText) meshSettings {
	object := cm.Namespace + "/" + cm.Name
	fault := func(part string, err error) { g.gap(part+" "+object, "get", "configmaps", cm.Namespace, err) }
	var settings meshSettings
	if err := yaml.Unmarshal([]byte(cm.Data[cm.key]), &settings); err != nil {
		fault("mesh config", fmt.Errorf("parsing it: %w", err))
		g.everywhere = true
	}
	for _, ca := range settings.CACertificates {
		if ca.Pem == "" && ca.SPIFFEBundleURL != "" {
			g.fetched(ca.SPIFFEBundleURL)
			continue
		}
		bundle, err := pki.ParseBundle([]byte(ca.Pem))
		if err != nil {
			fault("meshConfig.caCertificates of", err)
			continue
		}
		for _, c := range bundle.Certs {
			if !slices.ContainsFunc(g.s.MeshCACertificates, c.Equal) {
				g.s.MeshCACertificates = append(g.s.MeshCACertificates, c)
			}
		}
	}
	var networks struct {
		Networks map[string]any `json:"networks"`
	}
	if err := yaml.Unmarshal([]byte(cm.Data["meshNetworks"]), &networks); err != nil {
		fault("mesh networks", fmt.Errorf("parsing them: %w", err))
	}
	for _, name := range slices.Sorted(maps.Keys(networks.Networks)) {
		g.networks = append(g.networks, Remote{Kind: "mesh-networks", Namespace: cm.Namespace, Name: name})
	}
	return settings
}

// fetched notes where istiods get more roots from, which proxies then may trust besides.
// Without ISTIO_MULTIROOT_MESH they make no such bundle, and the setting has no effect
// (istio 1.30.3 pilot/pkg/trustbundle/trustbundle.go:217, pilot/pkg/bootstrap/server.go:1357).
func (g *gatherer) fetched(url string) {
	multi := slices.ContainsFunc(g.s.ControlPlanes, func(plane ControlPlane) bool { return plane.Flags.MultiRoot })
	if multi && !slices.Contains(g.s.MeshCAURLs, url) {
		g.s.MeshCAURLs = append(g.s.MeshCAURLs, url)
	}
}

// NameMeshRoots takes the operator's word for what stands behind the URLs of
// meshConfig.caCertificates.
func (s *Snapshot) NameMeshRoots(roots []*pki.Certificate) {
	for _, c := range roots {
		if !slices.ContainsFunc(s.MeshCACertificates, c.Equal) {
			s.MeshCACertificates = append(s.MeshCACertificates, c)
		}
	}
	if len(roots) > 0 {
		s.MeshCAURLs = nil
	}
}

// mutual takes what the mesh config says of mutual TLS. Of several control planes
// the one counts that uses it.
func (g *gatherer) mutual(settings meshSettings) {
	m := &g.s.MTLS
	for _, policy := range []struct {
		into *string
		said string
	}{{&m.AuthPolicy, settings.AuthPolicy}, {&m.ControlPlaneAuthPolicy, settings.DefaultConfig.ControlPlaneAuthPolicy}} {
		if policy.said != "" && *policy.into != MutualTLS {
			*policy.into = policy.said
		}
	}
	if on := settings.EnableAutoMTLS; on != nil && (m.AutoMTLS == nil || *on) {
		m.AutoMTLS = on
	}
}
