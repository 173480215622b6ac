package mesh

import (
	"context"
	"fmt"

	"github.com/meshca/kubectl-meshca/pkg/pki"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"
)

// meshSettings is what of meshConfig decides about trust.
type meshSettings struct {
	TrustDomain    string `json:"trustDomain"`
	CACertificates []struct {
		Pem             string `json:"pem"`
		SPIFFEBundleURL string `json:"spiffeBundleUrl"`
	} `json:"caCertificates"`
}

// meshConfig reads the ConfigMap istio (istio-REVISION) of every control plane.
func (g *gatherer) meshConfig(ctx context.Context) {
	g.s.TrustDomain = "cluster.local"
	for _, plane := range g.s.ControlPlanes {
		name := "istio"
		if plane.Revision != "" && plane.Revision != "default" {
			name += "-" + plane.Revision
		}
		object := plane.Namespace + "/" + name
		cm, err := g.Kube.CoreV1().ConfigMaps(plane.Namespace).Get(ctx, name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			continue // built-in defaults
		}
		if err != nil {
			g.gap("mesh config "+object, "get", "configmaps", plane.Namespace, err)
			continue
		}
		var settings meshSettings
		if err := yaml.Unmarshal([]byte(cm.Data["mesh"]), &settings); err != nil {
			g.gap("mesh config "+object, "get", "configmaps", plane.Namespace, fmt.Errorf("parsing it: %w", err))
			continue
		}
		if settings.TrustDomain != "" {
			g.s.TrustDomain = settings.TrustDomain
		}
		for _, ca := range settings.CACertificates {
			if ca.SPIFFEBundleURL != "" {
				g.gap("roots behind "+ca.SPIFFEBundleURL+" (meshConfig.caCertificates)", "get", "configmaps", plane.Namespace, fmt.Errorf("they are not fetched"))
				continue
			}
			bundle, err := pki.ParseBundle([]byte(ca.Pem))
			if err != nil {
				g.gap("meshConfig.caCertificates of "+object, "get", "configmaps", plane.Namespace, err)
				continue
			}
			g.s.MeshCACertificates = append(g.s.MeshCACertificates, bundle.Certs...)
		}
	}
}

// virtualMachines are proxies that no list of pods shows.
func (g *gatherer) virtualMachines(ctx context.Context) {
	if g.Dynamic == nil {
		g.gap("virtual machines (WorkloadEntries)", "list", "workloadentries", "", fmt.Errorf("they were not read"))
		return
	}
	var last error
	for _, version := range []string{"v1", "v1beta1", "v1alpha3"} {
		resource := g.Dynamic.Resource(schema.GroupVersionResource{Group: "networking.istio.io", Version: version, Resource: "workloadentries"})
		var vms []VM
		err := pages(func(o metav1.ListOptions) (string, error) {
			page, err := resource.List(ctx, o)
			if err != nil {
				return "", err
			}
			for _, item := range page.Items {
				spec, _ := item.Object["spec"].(map[string]any)
				address, _ := spec["address"].(string)
				vms = append(vms, VM{Namespace: item.GetNamespace(), Name: item.GetName(), Address: address})
			}
			return page.GetContinue(), nil
		}, metav1.ListOptions{}, func() { vms = nil })
		if err == nil {
			g.s.VMs = vms
			return
		}
		if last = err; !apierrors.IsNotFound(err) && !meta.IsNoMatchError(err) {
			break
		}
	}
	if apierrors.IsNotFound(last) || meta.IsNoMatchError(last) {
		return // this cluster has no such kind, so it has none of them
	}
	g.gap("virtual machines (WorkloadEntries)", "list", "workloadentries", "", last)
}

// remotes looks for signs of other clusters in the same mesh.
func (g *gatherer) remotes(ctx context.Context) {
	var all []Remote
	if !g.NoSecrets {
		for _, plane := range g.s.ControlPlanes {
			// Names are enough; what these Secrets hold is nobody's business here.
			secrets, err := g.Kube.CoreV1().Secrets(plane.Namespace).List(ctx, metav1.ListOptions{LabelSelector: "istio/multiCluster=true"})
			if err != nil {
				g.gap("secrets of remote clusters in "+plane.Namespace, "list", "secrets", plane.Namespace, err)
				continue
			}
			for _, s := range secrets.Items {
				all = append(all, Remote{Kind: "remote-secret", Namespace: s.Namespace, Name: s.Name})
			}
		}
	}
	gateways, err := g.Kube.CoreV1().Services("").List(ctx, metav1.ListOptions{LabelSelector: "topology.istio.io/network"})
	if err != nil {
		g.gap("east-west gateways", "list", "services", "", err)
	} else {
		for _, s := range gateways.Items {
			all = append(all, Remote{Kind: "east-west-gateway", Namespace: s.Namespace, Name: s.Name})
		}
	}
	g.s.Remotes = all
}
