package mesh

import (
	"context"
	"errors"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// virtualMachines are proxies that no list of pods shows.
func (g *gatherer) virtualMachines(ctx context.Context) {
	const part, kind = "virtual machines (WorkloadEntries)", "workloadentries"
	if g.Dynamic == nil {
		g.gap(part, "list", kind, "", errors.New("they were not read"))
		return
	}
	var last error
	for _, version := range []string{"v1", "v1beta1", "v1alpha3"} {
		resource := g.Dynamic.Resource(schema.GroupVersionResource{Group: "networking.istio.io", Version: version, Resource: kind})
		var vms []VM
		err := pages(func(o metav1.ListOptions) (string, error) {
			page, err := resource.List(ctx, o)
			if err != nil {
				return "", err
			}
			for i := range page.Items {
				vms = append(vms, vmOf(&page.Items[i]))
			}
			return page.GetContinue(), nil
		}, metav1.ListOptions{}, func() { vms = nil })
		if err == nil || !absent(err) {
			if g.s.VMs = vms; err != nil {
				g.gap(part, "list", kind, "", err)
			}
			return
		}
		last = err
	}
	if !absent(last) { // else this cluster has no such kind, so it has none of them
		g.gap(part, "list", kind, "", last)
	}
}

// absent reports whether the API server has no such kind.
func absent(err error) bool { return apierrors.IsNotFound(err) || meta.IsNoMatchError(err) }

// vmOf: istiod notes on the entries that it registers by itself whether their
// proxy is connected (istio 1.30.3 pilot/pkg/autoregistration/controller.go). Peers speak
// mutual TLS to whose label asks for it, and without one to who has a service account
// (pilot/pkg/serviceregistry/serviceentry/conversion.go, getTLSModeFromWorkloadEntry).
func vmOf(entry *unstructured.Unstructured) VM {
	address, _, _ := unstructured.NestedString(entry.Object, "spec", "address")
	account, _, _ := unstructured.NestedString(entry.Object, "spec", "serviceAccount")
	mode, labelled, _ := unstructured.NestedString(entry.Object, "spec", "labels", "security.istio.io/tlsMode")
	notes := entry.GetAnnotations()
	spoken := account != ""
	if labelled {
		spoken = mode != "disabled"
	}
	itself := notes["istio.io/autoRegistrationGroup"] != "" || notes["istio.io/connectedAt"] != ""
	return VM{
		Plain:     !spoken && !itself,
		Namespace: entry.GetNamespace(), Name: entry.GetName(), Address: address,
		Connected: notes["istio.io/connectedAt"] != "" && notes["istio.io/disconnectedAt"] == "",
	}
}

// remotes looks for signs of other clusters in the same mesh.
func (g *gatherer) remotes(ctx context.Context) {
	var all []Remote
	add := func(kind, namespace, name string) {
		if r := (Remote{Kind: kind, Namespace: namespace, Name: name}); !slices.Contains(all, r) {
			all = append(all, r)
		}
	}
	for _, namespace := range g.homes() {
		if g.NoSecrets {
			g.gap("secrets of remote clusters in "+namespace, "list", "secrets", namespace, errors.New("they were not to be read"))
			continue
		}
		// Names are enough; what these Secrets hold is nobody's business here.
		var names []string
		err := pages(func(o metav1.ListOptions) (string, error) {
			page, err := g.Kube.CoreV1().Secrets(namespace).List(ctx, o)
			if err != nil {
				return "", err
			}
			for i := range page.Items {
				names = append(names, page.Items[i].Name)
			}
			return page.Continue, nil
		}, metav1.ListOptions{LabelSelector: "istio/multiCluster=true"}, func() { names = nil })
		if err != nil {
			g.gap("secrets of remote clusters in "+namespace, "list", "secrets", namespace, err)
		}
		for _, name := range names {
			add("remote-secret", namespace, name)
		}
	}
	for _, s := range g.services(ctx, "topology.istio.io/network", "east-west gateways by network") {
		add("east-west-gateway", s.Namespace, s.Name)
	}
	for _, s := range g.services(ctx, "istio=eastwestgateway", "east-west gateways") {
		add("east-west-gateway", s.Namespace, s.Name)
	}
	// By the charts of before 1.24, and of 1.24 on (istio 1.30.3 manifests/charts/
	// istio-control/istio-discovery/templates/remote-istiod-service.yaml).
	for _, s := range append(g.services(ctx, "app=istiod", "services of remote istiods"), g.services(ctx, "app.kubernetes.io/name=istiod", "services of remote istiods by their name")...) {
		// Endpoints that somebody writes by hand are an istiod elsewhere.
		if len(s.Spec.Selector) == 0 || s.Spec.Type == corev1.ServiceTypeExternalName || strings.HasSuffix(s.Name, "-remote") {
			add("remote-istiod", s.Namespace, s.Name)
		}
	}
	g.s.Remotes = all
}

// homes are the namespaces of the control planes.
func (g *gatherer) homes() (all []string) {
	for _, plane := range g.s.ControlPlanes {
		if !slices.Contains(all, plane.Namespace) {
			all = append(all, plane.Namespace)
		}
	}
	return all
}

func (g *gatherer) services(ctx context.Context, selector, part string) (all []corev1.Service) {
	err := pages(func(o metav1.ListOptions) (string, error) {
		page, err := g.Kube.CoreV1().Services("").List(ctx, o)
		if err != nil {
			return "", err
		}
		all = append(all, page.Items...)
		return page.Continue, nil
	}, metav1.ListOptions{LabelSelector: selector}, func() { all = nil })
	if err != nil {
		g.gap(part, "list", "services", "", err)
	}
	return all
}

// nodes: a kubelet that does not answer refreshes no file.
func (g *gatherer) nodes(ctx context.Context) {
	var nodes []Node
	err := pages(func(o metav1.ListOptions) (string, error) {
		page, err := g.Kube.CoreV1().Nodes().List(ctx, o)
		if err != nil {
			return "", err
		}
		for i := range page.Items {
			nodes = append(nodes, nodeOf(&page.Items[i]))
		}
		return page.Continue, nil
	}, metav1.ListOptions{}, func() { nodes = nil })
	if err != nil {
		g.gap("nodes", "list", "nodes", "", err)
	}
	g.leases(ctx, nodes)
	g.s.Nodes = nodes
}

// nodeOf: of a node that is ready counts its last heartbeat, of another one when
// it ceased to be.
func nodeOf(n *corev1.Node) Node {
	node := Node{Name: n.Name}
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady {
			if node.Ready, node.LastReady = c.Status == corev1.ConditionTrue, c.LastTransitionTime.Time; node.Ready {
				node.LastReady = c.LastHeartbeatTime.Time
			}
		}
	}
	return node
}

// leases are kubelets' heartbeats every ten seconds; a node's own condition is
// written every five minutes.
func (g *gatherer) leases(ctx context.Context, nodes []Node) {
	const namespace = "kube-node-lease"
	index := make(map[string]*Node, len(nodes))
	for i := range nodes {
		index[nodes[i].Name] = &nodes[i]
	}
	err := pages(func(o metav1.ListOptions) (string, error) {
		page, err := g.Kube.CoordinationV1().Leases(namespace).List(ctx, o)
		if err != nil {
			return "", err
		}
		for _, l := range page.Items {
			if node := index[l.Name]; node != nil && node.Ready && l.Spec.RenewTime != nil && l.Spec.RenewTime.After(node.LastReady) {
				node.LastReady = l.Spec.RenewTime.Time
			}
		}
		return page.Continue, nil
	}, metav1.ListOptions{}, func() {})
	if err != nil && !refused(err) && !absent(err) {
		// Without the right to see them the node's own word stands.
		g.gap("heartbeats of nodes", "list", "leases", namespace, err)
	}
}
