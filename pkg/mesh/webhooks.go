package mesh

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/meshca/kubectl-meshca/pkg/pki"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	admissionv1beta1 "k8s.io/api/admissionregistration/v1beta1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Kinds of webhook configurations.
const (
	mutating   = "MutatingWebhookConfiguration"
	validating = "ValidatingWebhookConfiguration"
)

// webhooks reads every entry of every configuration that calls an istiod.
func (g *gatherer) webhooks(ctx context.Context) {
	injecting, err := g.mutatingWebhooks(ctx)
	if err != nil {
		g.gap("mutating webhooks", "list", "mutatingwebhookconfigurations", "", err)
	}
	judging, err := g.validatingWebhooks(ctx)
	if err != nil {
		g.gap("validating webhooks", "list", "validatingwebhookconfigurations", "", err)
	}
	g.s.Webhooks = append(injecting, judging...)
}

// mutatingWebhooks are of the version v1, or of v1beta1 where the API server has no other:
// v1 came with Kubernetes 1.16, and Istio 1.0 to 1.4 ran on 1.9 to 1.15.
func (g *gatherer) mutatingWebhooks(ctx context.Context) (all []Webhook, err error) {
	restart := func() { all = nil }
	err = pages(func(o metav1.ListOptions) (string, error) {
		page, err := g.Kube.AdmissionregistrationV1().MutatingWebhookConfigurations().List(ctx, o)
		if err != nil {
			return "", err
		}
		for _, c := range page.Items {
			for _, w := range c.Webhooks {
				all = g.webhook(all, mutating, c.ObjectMeta, w.Name, w.ClientConfig, w.FailurePolicy)
			}
		}
		return page.Continue, nil
	}, metav1.ListOptions{}, restart)
	if err == nil || !absent(err) {
		return all, err
	}
	err = pages(func(o metav1.ListOptions) (string, error) {
		page, err := g.Kube.AdmissionregistrationV1beta1().MutatingWebhookConfigurations().List(ctx, o)
		if err != nil {
			return "", err
		}
		for _, c := range page.Items {
			for _, w := range c.Webhooks {
				config, policy := ofBeta(w.ClientConfig, w.FailurePolicy)
				all = g.webhook(all, mutating, c.ObjectMeta, w.Name, config, policy)
			}
		}
		return page.Continue, nil
	}, metav1.ListOptions{}, restart)
	return all, err
}

func (g *gatherer) validatingWebhooks(ctx context.Context) (all []Webhook, err error) {
	restart := func() { all = nil }
	err = pages(func(o metav1.ListOptions) (string, error) {
		page, err := g.Kube.AdmissionregistrationV1().ValidatingWebhookConfigurations().List(ctx, o)
		if err != nil {
			return "", err
		}
		for _, c := range page.Items {
			for _, w := range c.Webhooks {
				all = g.webhook(all, validating, c.ObjectMeta, w.Name, w.ClientConfig, w.FailurePolicy)
			}
		}
		return page.Continue, nil
	}, metav1.ListOptions{}, restart)
	if err == nil || !absent(err) {
		return all, err
	}
	err = pages(func(o metav1.ListOptions) (string, error) {
		page, err := g.Kube.AdmissionregistrationV1beta1().ValidatingWebhookConfigurations().List(ctx, o)
		if err != nil {
			return "", err
		}
		for _, c := range page.Items {
			for _, w := range c.Webhooks {
				config, policy := ofBeta(w.ClientConfig, w.FailurePolicy)
				all = g.webhook(all, validating, c.ObjectMeta, w.Name, config, policy)
			}
		}
		return page.Continue, nil
	}, metav1.ListOptions{}, restart)
	return all, err
}

// ofBeta is v1beta1 in the words of v1; there an entry that says nothing of failures
// ignores them.
func ofBeta(config admissionv1beta1.WebhookClientConfig, policy *admissionv1beta1.FailurePolicyType) (admissionv1.WebhookClientConfig, *admissionv1.FailurePolicyType) {
	c, p := admissionv1.WebhookClientConfig{URL: config.URL, CABundle: config.CABundle}, admissionv1.Ignore
	if s := config.Service; s != nil {
		c.Service = &admissionv1.ServiceReference{Namespace: s.Namespace, Name: s.Name, Path: s.Path, Port: s.Port}
	}
	if policy != nil {
		p = admissionv1.FailurePolicyType(*policy)
	}
	return c, &p
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
		w.Error, w.Blank = fmt.Sprintf("caBundle: %v", err), len(config.CABundle) == 0
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
		if plane.citadel && config.Service.Name == "istio-sidecar-injector" {
			return true // the injector of Istio 1.0 to 1.4 is a service of its own, not always of Citadel's namespace
		}
		if plane.Namespace != config.Service.Namespace {
			continue
		}
		if plane.Name == config.Service.Name || selected && (labelled || strings.HasPrefix(config.Service.Name, "istiod")) {
			return true
		}
	}
	return false
}

// byHand marks the webhooks that no istiod of their revision writes into, though there are
// such istiods, and those that none does whatever its revision.
func (g *gatherer) byHand() {
	for i := range g.s.Webhooks {
		w, setting := &g.s.Webhooks[i], ""
		if w.Revision == "" && len(g.s.ControlPlanes) > 0 && !slices.ContainsFunc(g.s.ControlPlanes, func(plane ControlPlane) bool { return !plane.wantsLabel(w.Kind) }) {
			w.ByHand = "it has no label istio.io/rev"
			continue
		}
		writes := slices.ContainsFunc(g.s.ControlPlanes, func(plane ControlPlane) bool {
			if plane.Revision != w.Revision {
				return false
			}
			setting = plane.byHand[w.Kind]
			return setting == ""
		})
		if !writes && setting != "" {
			w.ByHand = setting + " is empty"
		}
	}
}

// wantsLabel reports whether an istiod is known to write into no webhook of this kind that
// lacks the label of its revision: into injecting ones by istio 1.10.0
// pkg/webhooks/webhookpatch.go:154, and into validating ones by 1.11.0
// pkg/webhooks/validation/controller/controller.go:226. Before, a name was enough.
func (c ControlPlane) wantsLabel(kind string) bool {
	since := "1.10.0"
	if kind == validating {
		since = "1.11.0"
	}
	_, known := ParseRelease(c.Version)
	return known && !c.citadel && c.Elsewhere == "" && !Before(c.Version, since)
}
