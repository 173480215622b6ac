package rotation

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
)

// Certificates are cert-manager's, of one namespace. Its API group has had the
// version v1 since 1.0 (2020).
type Certificates struct {
	dynamic.ResourceInterface
}

// CertificatesOf are those of a namespace.
func CertificatesOf(client dynamic.Interface, namespace string) Certificates {
	return Certificates{client.Resource(schema.GroupVersionResource{Group: "cert-manager.io", Version: "v1", Resource: "certificates"}).Namespace(namespace)}
}

// issue sets the condition Issuing, which is how a renewal is asked for at any time:
// the same as "cmctl renew" does (cert-manager cmctl pkg/renew/renew.go, reason
// ManuallyTriggered). One that is set already is left alone.
func (c Certificates) issue(ctx context.Context, name string, now time.Time, dryRun ...string) error {
	o, err := c.Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("reading certificate %s: %w", name, err)
	}
	all, _, err := unstructured.NestedSlice(o.Object, "status", "conditions")
	if err != nil {
		return fmt.Errorf("reading certificate %s: %w", name, err)
	}
	wanted := map[string]any{
		"type": "Issuing", "status": "True", "reason": "ManuallyTriggered", "message": "Certificate re-issuance manually triggered",
		"lastTransitionTime": now.UTC().Format(time.RFC3339), "observedGeneration": o.GetGeneration(),
	}
	there := false
	for i := range all {
		if entry, _ := all[i].(map[string]any); entry["type"] == "Issuing" {
			if there = true; entry["status"] == "True" {
				return nil
			}
			all[i] = wanted
		}
	}
	if !there {
		all = append(all, wanted)
	}
	if err := unstructured.SetNestedSlice(o.Object, all, "status", "conditions"); err != nil {
		return fmt.Errorf("asking certificate %s to renew: %w", name, err)
	}
	if _, err := c.UpdateStatus(ctx, o, metav1.UpdateOptions{FieldManager: fieldManager, DryRun: dryRun}); err != nil {
		return fmt.Errorf("asking certificate %s to renew: %w", name, err)
	}
	return nil
}

// point has a Certificate write to a Secret, at the version that was read; from is the
// Secret that it is released from, "" where it is not.
func (c Certificates) point(ctx context.Context, name, secret, from string, dryRun ...string) error {
	o, err := c.Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("reading certificate %s: %w", name, err)
	}
	annotations := o.GetAnnotations()
	if annotations == nil {
		annotations = map[string]string{}
	}
	if annotations[mesh.ReleasedFrom] = from; from == "" {
		delete(annotations, mesh.ReleasedFrom)
	}
	o.SetAnnotations(annotations)
	if err := unstructured.SetNestedField(o.Object, secret, "spec", "secretName"); err != nil {
		return fmt.Errorf("pointing certificate %s to secret %s: %w", name, secret, err)
	}
	if _, err := c.Update(ctx, o, metav1.UpdateOptions{FieldManager: fieldManager, DryRun: dryRun}); err != nil {
		return fmt.Errorf("pointing certificate %s to secret %s: %w", name, secret, err)
	}
	return nil
}

// issuing is how a Certificate stands: whether it is ready for its Secret as it is
// now asked for, whether an issue is under way, and why it failed.
type issuing struct {
	ready, under bool
	failed       string
}

func (c Certificates) state(ctx context.Context, name string) (issuing, error) {
	o, err := c.Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return issuing{}, fmt.Errorf("reading certificate %s: %w", name, err)
	}
	var s issuing
	all, _, _ := unstructured.NestedSlice(o.Object, "status", "conditions")
	for _, entry := range all {
		c, _ := entry.(map[string]any)
		observed, said := c["observedGeneration"].(int64)
		current := !said || observed == o.GetGeneration() // and not of what was asked for before
		switch {
		case c["type"] == "Ready":
			s.ready = c["status"] == "True" && current
		case c["type"] == "Issuing" && c["status"] == "True":
			s.under = true
		// Whatever the reason: a refused request brings its own. Success takes the condition
		// off, or with server-side apply sets it to this (cert-manager 1.21.2
		// pkg/controller/certificates/issuing/issuing_controller.go, failIssueCertificate
		// and updateOrApplyStatus).
		case c["type"] == "Issuing" && c["status"] == "False" && c["reason"] != "Issued" && current:
			message, _ := c["message"].(string)
			s.failed = cmp.Or(message, "it does not say why")
		}
	}
	return s, nil
}
