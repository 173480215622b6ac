package restart

import (
	"fmt"

	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// Budget is one PodDisruptionBudget, as its controller has counted it.
type Budget struct {
	namespace, name string
	selector        labels.Selector
	// expected pods, of which desired must serve and healthy do.
	expected, desired, healthy, allowed int
	// unknown says why the figures mean nothing.
	unknown string
}

func newBudget(p *policyv1.PodDisruptionBudget) Budget {
	b := Budget{namespace: p.Namespace, name: p.Name, expected: int(p.Status.ExpectedPods), desired: int(p.Status.DesiredHealthy),
		healthy: int(p.Status.CurrentHealthy), allowed: int(p.Status.DisruptionsAllowed)}
	// A selector that is missing selects nothing, an empty one everything.
	selector, err := metav1.LabelSelectorAsSelector(p.Spec.Selector)
	if b.selector = selector; err != nil {
		b.selector, b.unknown = labels.Everything(), "its selector cannot be read: "+err.Error()
	}
	for _, c := range p.Status.Conditions {
		if c.Type == policyv1.DisruptionAllowedCondition && c.Reason == policyv1.SyncFailedReason {
			b.unknown = "its controller cannot count its pods: " + c.Message
		}
	}
	switch {
	case b.unknown != "":
	case p.Status.ObservedGeneration < p.Generation:
		b.unknown = "its controller has not seen its latest change"
	case b.expected == 0:
		b.unknown = "its controller has counted none of its pods"
	}
	return b
}

func (b Budget) ref() string { return b.namespace + "/" + b.name }

// ever is how many of its pods it can spare when all of them serve.
func (b Budget) ever() int { return b.expected - b.desired }

// now is how many it can spare at this moment.
func (b Budget) now() int { return min(b.healthy-b.desired, b.allowed) }

func (b Budget) String() string {
	return fmt.Sprintf("poddisruptionbudget %s wants %d of %d pods to serve", b.ref(), b.desired, b.expected)
}

// covers reports whether it protects a pod with any of these sets of labels.
func (b Budget) covers(namespace string, sets []map[string]string) bool {
	if b.namespace != namespace {
		return false
	}
	for _, set := range sets {
		if b.selector.Matches(labels.Set(set)) {
			return true
		}
	}
	return false
}
