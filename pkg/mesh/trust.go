package mesh

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/meshca/kubectl-meshca/pkg/pki"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// rootEntry is the key of a trust ConfigMap (istio 1.30.3 pkg/config/constants).
const rootEntry = pki.RootFile

// TrustBundleName is the ClusterTrustBundle that istiod writes instead of ConfigMaps
// (istio 1.26.0 pilot/pkg/controllers/clustertrustbundle/controller.go:30).
const TrustBundleName = "istio.io:istiod-ca:root-cert"

// oneByOne is how many ConfigMaps are asked for at once where they may not be
// listed.
const oneByOne = 16

// namespaces reads all namespaces and, in one list across them, their trust
// ConfigMaps.
func (g *gatherer) namespaces(ctx context.Context) {
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
		g.partial = true
	}
	name, bundled := g.published()
	if bundled {
		g.clusterTrustBundle(ctx)
	} else {
		all = g.trustConfigMaps(ctx, name, all)
	}
	slices.SortFunc(all, func(a, b Namespace) int { return strings.Compare(a.Name, b.Name) })
	g.s.Namespaces = all
}

// published says where istiods publish the roots: the name of the ConfigMap, or
// in a ClusterTrustBundle. Control planes that differ in it leave a Gap, for only
// one place is judged.
func (g *gatherer) published() (name string, bundled bool) {
	type place struct {
		name    string
		bundled bool
	}
	var places []place
	for _, plane := range g.s.ControlPlanes {
		if plane.citadel {
			continue
		}
		p := place{plane.Flags.TrustConfigMap, plane.Flags.ClusterTrustBundle}
		if !slices.Contains(places, p) {
			places = append(places, p)
		}
	}
	if len(places) == 0 {
		return DefaultTrustConfigMap, false
	}
	if len(places) > 1 {
		g.gap("published roots", "list", "configmaps", "", fmt.Errorf("the control planes publish them in %d different places", len(places)))
	}
	return places[0].name, places[0].bundled
}

func namespaceOf(n *corev1.Namespace) Namespace {
	out := Namespace{
		Name: n.Name, Ambient: n.Labels["istio.io/dataplane-mode"] == "ambient", labels: n.Labels,
		Terminating: n.DeletionTimestamp != nil || n.Status.Phase == corev1.NamespaceTerminating,
	}
	// istio-injection counts before istio.io/rev (istio 1.30.3
	// manifests/charts/istio-control/istio-discovery/templates/mutatingwebhook.yaml).
	switch n.Labels["istio-injection"] {
	case "enabled":
		out.Revision = "default"
	case "disabled":
	default:
		out.Revision = n.Labels["istio.io/rev"]
	}
	return out
}

// trustConfigMaps reads the ConfigMap of every namespace, by one list where that
// is allowed and one by one where it is not.
func (g *gatherer) trustConfigMaps(ctx context.Context, name string, all []Namespace) []Namespace {
	found, err := configMapsOf(ctx, g, name, anchorOf)
	if refused(err) && len(all) > 0 {
		if err = g.trustOneByOne(ctx, name, all); err == nil {
			return all
		}
	}
	for i := range all {
		if anchor := found[all[i].Name]; anchor != nil {
			all[i].Trust = anchor
			delete(found, all[i].Name)
		} else if err != nil && all[i].Trust == nil {
			all[i].Trust = &TrustAnchor{Name: name, Error: "it was not read: " + err.Error()}
		}
	}
	// Where namespaces could not be listed, their ConfigMaps tell which there are.
	for _, namespace := range slices.Sorted(maps.Keys(found)) {
		all = append(all, Namespace{Name: namespace, Trust: found[namespace]})
	}
	if err != nil {
		g.gap("ConfigMaps "+name+" of all namespaces", "list", "configmaps", "", err)
	}
	return all
}

// configMapsOf is what the ConfigMap of this name says in every namespace that has one,
// by one list.
func configMapsOf[T any](ctx context.Context, g *gatherer, name string, of func(*corev1.ConfigMap) *T) (map[string]*T, error) {
	found := map[string]*T{}
	err := pages(func(o metav1.ListOptions) (string, error) {
		page, err := g.Kube.CoreV1().ConfigMaps("").List(ctx, o)
		if err != nil {
			return "", err
		}
		for i := range page.Items {
			if cm := &page.Items[i]; cm.Name == name { // the fake client knows no field selector
				found[cm.Namespace] = of(cm)
			}
		}
		return page.Continue, nil
	}, metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector("metadata.name", name).String()}, func() { clear(found) })
	return found, err
}

// trustOneByOne returns the first refusal.
func (g *gatherer) trustOneByOne(ctx context.Context, name string, all []Namespace) error {
	var first error
	g.eachConfigMap(ctx, name, all, func(i int, cm *corev1.ConfigMap, err error) {
		switch {
		case err == nil:
			all[i].Trust = anchorOf(cm)
		case !apierrors.IsNotFound(err):
			all[i].Trust = &TrustAnchor{Name: name, Error: "it was not read: " + err.Error()}
			if first == nil {
				first = err
			}
		}
	})
	return first
}

// eachConfigMap gets the ConfigMap of this name in every namespace, some at once, and
// hands them over one after another.
func (g *gatherer) eachConfigMap(ctx context.Context, name string, all []Namespace, visit func(i int, cm *corev1.ConfigMap, err error)) {
	var wg sync.WaitGroup
	var mu sync.Mutex
	slots := make(chan struct{}, oneByOne)
	for i := range all {
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			cm, err := g.Kube.CoreV1().ConfigMaps(all[i].Name).Get(ctx, name, metav1.GetOptions{})
			mu.Lock()
			defer mu.Unlock()
			visit(i, cm, err)
		})
	}
	wg.Wait()
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

// discovered keeps the namespaces that istiods serve: those that a discovery
// selector includes (istio 1.30.3 pkg/kube/namespace/filter.go), and those that
// take part all the same, so that what they lack is seen. An istiod's own is left out
// like any other, and a ConfigMap of before stays there as it was (istio 1.31.0-rc.0
// pilot/pkg/serviceregistry/kube/controller/namespacecontroller.go:77).
func (g *gatherer) discovered() {
	if g.everywhere || g.partial || len(g.selectors) == 0 {
		return
	}
	needed := map[string]bool{}
	for _, p := range g.s.Proxies {
		needed[p.Namespace] = true
	}
	var selectors []labels.Selector
	for i := range g.selectors {
		selector, err := metav1.LabelSelectorAsSelector(&g.selectors[i])
		if err != nil {
			g.gap("discovery selectors", "get", "configmaps", "", err)
			return
		}
		selectors = append(selectors, selector)
	}
	g.s.Namespaces = slices.DeleteFunc(g.s.Namespaces, func(n Namespace) bool {
		included := slices.ContainsFunc(selectors, func(s labels.Selector) bool { return s.Matches(labels.Set(n.labels)) })
		asked := n.Ambient || n.Revision != "" && !g.othersRevision(n.Revision)
		return !included && !needed[n.Name] && !asked
	})
}

func (g *gatherer) clusterTrustBundle(ctx context.Context) {
	const name = TrustBundleName
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
			if last = err; apierrors.IsNotFound(err) {
				continue // another version may have it
			}
			break
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
	if refused(last) {
		g.gap("ClusterTrustBundle "+name, "get", "clustertrustbundles", "", last)
	}
}

// Forsaken names where a proxy's agent reads the roots of istiod from, where that is a
// place of Istio's that its istiods write no more: the ConfigMap of before a
// ClusterTrustBundle or another name, or the reverse (istio 1.31.0-rc.0
// pilot/pkg/serviceregistry/kube/controller/multicluster.go:297). A pod keeps the volume
// that it was made with. "" where it is written, somebody else's, or not known.
func (s *Snapshot) Forsaken(p Proxy) string {
	place := "the ConfigMap " + p.RootsFrom
	switch p.RootsFrom {
	case DefaultTrustConfigMap:
	case TrustBundleName:
		place = "the ClusterTrustBundle " + p.RootsFrom
	default:
		return ""
	}
	for _, plane := range s.ControlPlanes {
		written := plane.Flags.TrustConfigMap
		if plane.Flags.ClusterTrustBundle {
			written = TrustBundleName
		}
		if written == "" || written == p.RootsFrom || plane.CA.Kind == CAUnsupported || !plane.Flags.CAServer {
			return "" // not known, or not istiod's own work
		}
	}
	if len(s.ControlPlanes) == 0 {
		return ""
	}
	return place
}

// LiveRoots are what a control plane's own namespace trusts, which istiods write there
// as they have loaded it; what the Secret holds where that was not read. The two differ
// where istiods have refused what was written.
func (s *Snapshot) LiveRoots(plane ControlPlane) []*pki.Certificate {
	if anchor, _ := s.LiveAnchor(plane); anchor != nil {
		return anchor.Bundle.Certs
	}
	return plane.CA.Root.Certs
}

// LiveAnchor is where the roots of a control plane's own namespace stand, and what that
// is: the cluster's bundle, or the ConfigMap. Nil where neither was read or has a root.
func (s *Snapshot) LiveAnchor(plane ControlPlane) (anchor *TrustAnchor, where string) {
	if t := s.ClusterTrustBundle; t != nil && len(t.Bundle.Certs) > 0 {
		return t, "clustertrustbundle " + t.Name
	}
	for _, n := range s.Namespaces {
		if n.Name == plane.Namespace && n.Trust != nil && len(n.Trust.Bundle.Certs) > 0 {
			return n.Trust, "configmap " + n.Name + "/" + n.Trust.Name
		}
	}
	return nil, ""
}
