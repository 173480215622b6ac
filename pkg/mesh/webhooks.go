package mesh

import (
	"context"
	"fmt"
	"strings"

	"github.com/meshca/kubectl-meshca/pkg/pki"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Kinds of webhook configurations.
const (
	mutating   = "MutatingWebhookConfiguration"
	validating = "ValidatingWebhookConfiguration"
)

// webhooks reads every entry of every configuration that calls an istiod.
func (g *gatherer) webhooks(ctx context.Context) {
	var injecting, judging []Webhook
	err := pages(func(o metav1.ListOptions) (string, error) {
		page, err := g.Kube.AdmissionregistrationV1().MutatingWebhookConfigurations().List(ctx, o)
		if err != nil {
			return "", err
		}
		for _, c := range page.Items {
			for _, w := range c.Webhooks {
				injecting = g.webhook(injecting, mutating, c.ObjectMeta, w.Name, w.ClientConfig, w.FailurePolicy)
			}
		}
		return page.Continue, nil
	}, metav1.ListOptions{}, func() { injecting = nil })
	if err != nil {
		g.gap("mutating webhooks", "list", "mutatingwebhookconfigurations", "", err)
	}
	err = pages(func(o metav1.ListOptions) (string, error) {
		page, err := g.Kube.AdmissionregistrationV1().ValidatingWebhookConfigurations().List(ctx, o)
		if err != nil {
			return "", err
		}
		for _, c := range page.Items {
			for _, w := range c.Webhooks {
				judging = g.webhook(judging, validating, c.ObjectMeta, w.Name, w.ClientConfig, w.FailurePolicy)
			}
		}
		return page.Continue, nil
	}, metav1.ListOptions{}, func() { judging = nil })
	if err != nil {
		g.gap("validating webhooks", "list", "validatingwebhookconfigurations", "", err)
	}
	g.s.Webhooks = append(injecting, judging...)
}

func (g *gatherer) webhook(all []Webhook, kind string, meta metav1.ObjectMeta, name string, config admissionv1.WebhookClientConfig, policy *admissionv1.FailurePolicyType) []Webhook {
	if !g.callsIstiod(config, meta) {
		return all
	}
	w := Webhook{
		Kind: kind, Config: meta.Name, Name: name, Revision: meta.Labels["istio.io/rev"], Tag: meta.Labels["istio.io/tag"],
		Fatal: policy == nil || *policy == admissionv1.Fail,
	}
	if config.Service != nil {
		w.Service = config.Service.Namespace + "/" + config.Service.Name
	}
	if bundle, err := pki.ParseBundle(config.CABundle); err != nil {
		w.Error = fmt.Sprintf("caBundle: %v", err)
	} else {
		w.CABundle = bundle
	}
	return append(all, w)
}

// callsIstiod: by the service of one of the control planes; by Istio's own label
// where the webhook is called by URL, or where no control plane can be seen.
func (g *gatherer) callsIstiod(config admissionv1.WebhookClientConfig, meta metav1.ObjectMeta) bool {
	labelled := meta.Labels["istio.io/rev"] != "" || meta.Labels["istio"] == "istiod"
	selected := g.Revision == "" || meta.Labels["istio.io/rev"] == g.Revision
	if config.Service == nil {
		return config.URL != nil && labelled && selected
	}
	if len(g.s.ControlPlanes) == 0 {
		return selected && strings.HasPrefix(config.Service.Name, "istiod") && (g.IstioNamespace == "" || g.IstioNamespace == config.Service.Namespace)
	}
	for _, plane := range g.s.ControlPlanes {
		if plane.Namespace != config.Service.Namespace {
			continue
		}
		if plane.citadel && config.Service.Name == "istio-sidecar-injector" {
			return true // the injector of Istio 1.0 to 1.4 is a service of its own
		}
		if plane.Name == config.Service.Name || selected && (labelled || strings.HasPrefix(config.Service.Name, "istiod")) {
			return true
		}
	}
	return false
}
