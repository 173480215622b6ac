package mesh

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/meshca/kubectl-meshca/pkg/pki"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// rootEntry is the key of a trust ConfigMap (istio 1.30.3 pkg/config/constants).
const rootEntry = "root-cert.pem"

// namespaces reads all namespaces and, in one list across them, their trust
// ConfigMaps.
func (g *gatherer) namespaces(ctx context.Context) {
	if len(g.s.ControlPlanes) == 0 {
		return
	}
	var all []Namespace
	err := pages(func(o metav1.ListOptions) (string, error) {
		page, err := g.Kube.CoreV1().Namespaces().List(ctx, o)
		if err != nil {
			return "", err
		}
		for i := range page.Items {
			all = append(all, namespaceOf(&page.Items[i]))
		}
		return page.Continue, nil
	}, metav1.ListOptions{}, func() { all = nil })
	if err != nil {
		g.gap("namespaces", "list", "namespaces", "", err)
	}
	flags := g.s.ControlPlanes[0].Flags
	if flags.ClusterTrustBundle {
		g.clusterTrustBundle(ctx)
	} else {
		g.trustConfigMaps(ctx, flags.TrustConfigMap, all)
	}
	slices.SortFunc(all, func(a, b Namespace) int { return strings.Compare(a.Name, b.Name) })
	g.mu.Lock()
	defer g.mu.Unlock()
	g.s.Namespaces = all
}

func namespaceOf(n *corev1.Namespace) Namespace {
	out := Namespace{Name: n.Name, Ambient: n.Labels["istio.io/dataplane-mode"] == "ambient", Terminating: n.DeletionTimestamp != nil, labels: n.Labels}
	if out.Revision = n.Labels["istio.io/rev"]; out.Revision == "" && n.Labels["istio-injection"] == "enabled" {
		out.Revision = "default"
	}
	return out
}

func (g *gatherer) trustConfigMaps(ctx context.Context, name string, all []Namespace) {
	found := map[string]*TrustAnchor{}
	err := pages(func(o metav1.ListOptions) (string, error) {
		page, err := g.Kube.CoreV1().ConfigMaps("").List(ctx, o)
		if err != nil {
			return "", err
		}
		for i := range page.Items {
			if cm := &page.Items[i]; cm.Name == name { // the fake client knows no field selector
				found[cm.Namespace] = anchorOf(cm)
			}
		}
		return page.Continue, nil
	}, metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector("metadata.name", name).String()}, func() { clear(found) })
	if err != nil {
		g.gap("ConfigMaps "+name+" of all namespaces", "list", "configmaps", "", err)
	}
	for i := range all {
		all[i].Trust = found[all[i].Name]
	}
}

func anchorOf(cm *corev1.ConfigMap) *TrustAnchor {
	anchor := &TrustAnchor{Name: cm.Name, ResourceVersion: cm.ResourceVersion, Immutable: cm.Immutable != nil && *cm.Immutable}
	bundle, err := pki.ParseBundle([]byte(cm.Data[rootEntry]))
	if err != nil {
		anchor.Error = rootEntry + ": " + err.Error()
		return anchor
	}
	anchor.Bundle = bundle
	return anchor
}

// clusterTrustBundle reads the one that istiod writes instead of ConfigMaps
// (istio 1.26.0 pilot/pkg/controllers/clustertrustbundle/controller.go:30).
func (g *gatherer) clusterTrustBundle(ctx context.Context) {
	const name = "istio.io:istiod-ca:root-cert"
	anchor := &TrustAnchor{Name: name}
	g.s.ClusterTrustBundle = anchor
	if g.Dynamic == nil {
		anchor.Error = "it was not read"
		return
	}
	var last error
	for _, version := range []string{"v1", "v1beta1", "v1alpha1"} {
		object, err := g.Dynamic.Resource(schema.GroupVersionResource{Group: "certificates.k8s.io", Version: version, Resource: "clustertrustbundles"}).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			last = err
			continue
		}
		spec, _ := object.Object["spec"].(map[string]any)
		text, _ := spec["trustBundle"].(string)
		bundle, err := pki.ParseBundle([]byte(text))
		if err != nil {
			anchor.Error = err.Error()
			return
		}
		anchor.Bundle, anchor.ResourceVersion = bundle, object.GetResourceVersion()
		return
	}
	anchor.Error = last.Error()
}

// webhooks reads every entry of every configuration that calls an istiod.
func (g *gatherer) webhooks(ctx context.Context) {
	var all []Webhook
	err := pages(func(o metav1.ListOptions) (string, error) {
		page, err := g.Kube.AdmissionregistrationV1().MutatingWebhookConfigurations().List(ctx, o)
		if err != nil {
			return "", err
		}
		for _, c := range page.Items {
			for _, w := range c.Webhooks {
				all = g.webhook(all, "MutatingWebhookConfiguration", c.ObjectMeta, w.Name, w.ClientConfig, w.FailurePolicy)
			}
		}
		return page.Continue, nil
	}, metav1.ListOptions{}, func() { all = nil })
	if err != nil {
		g.gap("mutating webhooks", "list", "mutatingwebhookconfigurations", "", err)
	}
	mutating := len(all)
	err = pages(func(o metav1.ListOptions) (string, error) {
		page, err := g.Kube.AdmissionregistrationV1().ValidatingWebhookConfigurations().List(ctx, o)
		if err != nil {
			return "", err
		}
		for _, c := range page.Items {
			for _, w := range c.Webhooks {
				all = g.webhook(all, "ValidatingWebhookConfiguration", c.ObjectMeta, w.Name, w.ClientConfig, w.FailurePolicy)
			}
		}
		return page.Continue, nil
	}, metav1.ListOptions{}, func() { all = all[:mutating] })
	if err != nil {
		g.gap("validating webhooks", "list", "validatingwebhookconfigurations", "", err)
	}
	g.s.Webhooks = all
}

func (g *gatherer) webhook(all []Webhook, kind string, meta metav1.ObjectMeta, name string, config admissionv1.WebhookClientConfig, policy *admissionv1.FailurePolicyType) []Webhook {
	service := ""
	if config.Service != nil {
		service = config.Service.Namespace + "/" + config.Service.Name
	}
	if !g.callsIstiod(config, meta) {
		return all
	}
	w := Webhook{Kind: kind, Config: meta.Name, Name: name, Revision: meta.Labels["istio.io/rev"], Service: service, Fatal: policy == nil || *policy == admissionv1.Fail}
	if bundle, err := pki.ParseBundle(config.CABundle); err != nil {
		w.Error = fmt.Sprintf("caBundle: %v", err)
	} else {
		w.CABundle = bundle
	}
	return append(all, w)
}

// callsIstiod: by the service of one of the control planes; by Istio's own label
// where the webhook is called by URL.
func (g *gatherer) callsIstiod(config admissionv1.WebhookClientConfig, meta metav1.ObjectMeta) bool {
	if config.Service == nil {
		return config.URL != nil && meta.Labels["istio.io/rev"] != ""
	}
	for _, plane := range g.s.ControlPlanes {
		if plane.Namespace == config.Service.Namespace && (config.Service.Name == plane.Name || strings.HasPrefix(config.Service.Name, "istiod")) {
			return g.Revision == "" || plane.Name == config.Service.Name || meta.Labels["istio.io/rev"] == g.Revision
		}
	}
	return false
}
