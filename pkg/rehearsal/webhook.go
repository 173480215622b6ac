package rehearsal

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/pki"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

const (
	mutatingKind   = "MutatingWebhookConfiguration"
	validatingKind = "ValidatingWebhookConfiguration"
)

func hooks(kind string) schema.GroupVersionResource {
	return admissionv1.SchemeGroupVersion.WithResource(strings.ToLower(kind) + "s")
}

// clients are how a configuration's webhooks are called.
func clients(o runtime.Object) (all []*admissionv1.WebhookClientConfig) {
	switch c := o.(type) {
	case *admissionv1.MutatingWebhookConfiguration:
		for i := range c.Webhooks {
			all = append(all, &c.Webhooks[i].ClientConfig)
		}
	case *admissionv1.ValidatingWebhookConfiguration:
		for i := range c.Webhooks {
			all = append(all, &c.Webhooks[i].ClientConfig)
		}
	}
	return all
}

// patchWebhooks writes this replica's roots into the webhooks of its revision, those
// that inject and those that judge configuration.
func (m *Mesh) patchWebhooks(i *istiod) {
	for _, kind := range []string{mutatingKind, validatingKind} {
		list, err := m.Kube.Tracker().List(hooks(kind), admissionv1.SchemeGroupVersion.WithKind(kind), "")
		if err != nil {
			continue // somebody has deleted them all
		}
		_ = meta.EachListItem(list, func(o runtime.Object) error {
			o = o.DeepCopyObject()
			about, err := meta.Accessor(o)
			if err != nil || about.GetLabels()["istio.io/rev"] != i.plane.Name {
				return err
			}
			for _, c := range clients(o) {
				c.CABundle = bytes.Clone(i.roots)
			}
			about.SetResourceVersion(versionOf(about.GetResourceVersion()))
			_ = m.Kube.Tracker().Update(hooks(kind), o, "") // gone is gone
			return nil
		})
	}
}

// replaceWebhooks has these webhooks, by kind, name and revision, instead of those
// that a mesh starts with; like says what a certificate of theirs is here.
func (m *Mesh) replaceWebhooks(webhooks []mesh.Webhook, like func(*pki.Certificate) (*pki.Certificate, error)) error {
	for _, p := range m.planes {
		if err := m.Kube.Tracker().Delete(hooks(mutatingKind), "", p.webhook().Name); err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("rehearsal: %w", err)
		}
	}
	injecting, judging := map[string]*admissionv1.MutatingWebhookConfiguration{}, map[string]*admissionv1.ValidatingWebhookConfiguration{}
	for _, w := range webhooks {
		bundle, err := bundleLike(w.CABundle, like)
		if err != nil {
			return err
		}
		of := metav1.ObjectMeta{Name: w.Config, Labels: map[string]string{"istio.io/rev": w.Revision}, ResourceVersion: "1"}
		if w.Tag != "" {
			of.Labels["istio.io/tag"] = w.Tag
		}
		policy := admissionv1.Ignore
		if w.Fatal {
			policy = admissionv1.Fail
		}
		config := admissionv1.WebhookClientConfig{CABundle: bundle}
		if namespace, name, ok := strings.Cut(w.Service, "/"); ok {
			config.Service = &admissionv1.ServiceReference{Namespace: namespace, Name: name}
		} else {
			url := "https://istiod.invalid/"
			config.URL = &url
		}
		if w.Kind == validatingKind {
			c := judging[w.Config]
			if c == nil {
				c = &admissionv1.ValidatingWebhookConfiguration{ObjectMeta: of}
				judging[w.Config] = c
			}
			c.Webhooks = append(c.Webhooks, admissionv1.ValidatingWebhook{Name: w.Name, ClientConfig: config, FailurePolicy: &policy})
			continue
		}
		c := injecting[w.Config]
		if c == nil {
			c = &admissionv1.MutatingWebhookConfiguration{ObjectMeta: of}
			injecting[w.Config] = c
		}
		c.Webhooks = append(c.Webhooks, admissionv1.MutatingWebhook{Name: w.Name, ClientConfig: config, FailurePolicy: &policy})
	}
	var all []runtime.Object
	for _, c := range injecting {
		all = append(all, c)
	}
	for _, c := range judging {
		all = append(all, c)
	}
	for _, c := range all {
		if err := m.Kube.Tracker().Add(c); err != nil {
			return fmt.Errorf("rehearsal: %w", err)
		}
	}
	return nil
}

func bundleLike(b pki.Bundle, like func(*pki.Certificate) (*pki.Certificate, error)) ([]byte, error) {
	var all []*pki.Certificate
	for _, c := range b.Certs {
		is, err := like(c)
		if err != nil {
			return nil, err
		}
		all = append(all, is)
	}
	return pki.NewBundle(all...).Raw, nil
}
