package mesh

import (
	"context"
	"errors"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// MutualTLS is the value by which the mesh config of Istio 1.0 to 1.4 turns mutual
// TLS on (istio 1.4.0 mesh/v1alpha1/config.proto, AuthenticationPolicy).
const MutualTLS = "MUTUAL_TLS"

// MTLS is what says whether the mesh uses mutual TLS.
type MTLS struct {
	// AuthPolicy and ControlPlaneAuthPolicy are those of the mesh config of Istio 1.0
	// to 1.4: NONE or MUTUAL_TLS.
	AuthPolicy             string `json:"authPolicy,omitempty"`
	ControlPlaneAuthPolicy string `json:"controlPlaneAuthPolicy,omitempty"`
	// AutoMTLS is enableAutoMtls, nil where the mesh config does not say: then the
	// release's default counts, true from 1.5 on.
	AutoMTLS *bool `json:"autoMTLS,omitempty"`
	// Policies are the objects that ask for mutual TLS, or forbid it.
	Policies []MTLSPolicy `json:"policies,omitempty"`
}

// MTLSPolicy is one mode that one object sets.
type MTLSPolicy struct {
	// Kind is PeerAuthentication, DestinationRule, MeshPolicy or Policy.
	Kind      string `json:"kind"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name"`
	// Mode is STRICT, PERMISSIVE, DISABLE or UNSET of a server, ISTIO_MUTUAL, MUTUAL,
	// SIMPLE or DISABLE of a client.
	Mode string `json:"mode"`
	// Scope is whom it is about: a host, workload labels, a port; "" for all of its
	// namespace.
	Scope string `json:"scope,omitempty"`
}

// Ref names the object.
func (p MTLSPolicy) Ref() string {
	return p.Kind + " " + strings.TrimPrefix(p.Namespace+"/"+p.Name, "/")
}

// Server reports whether the policy is about what is accepted, not what is sent.
func (p MTLSPolicy) Server() bool { return p.Kind != "DestinationRule" }

// policyKind is a kind of object that says something of mutual TLS.
type policyKind struct {
	group, resource string
	modes           func(*unstructured.Unstructured) []MTLSPolicy
}

// policyKinds are those of all ages (istio 1.4.0 install/kubernetes/helm/istio-init
// crd-10.yaml: MeshPolicy and Policy, gone in 1.6; PeerAuthentication since 1.5).
func policyKinds() []policyKind {
	return []policyKind{
		{"security.istio.io", "peerauthentications", peerAuthentication},
		{"networking.istio.io", "destinationrules", destinationRule},
		{"authentication.istio.io", "meshpolicies", authenticationPolicy("MeshPolicy")},
		{"authentication.istio.io", "policies", authenticationPolicy("Policy")},
	}
}

// policies reads every object that says something of mutual TLS, in the versions
// that this API server has.
func (g *gatherer) policies(ctx context.Context) {
	var all []MTLSPolicy
	for _, kind := range policyKinds() {
		const part = "policies on mutual TLS: "
		resource, ok, err := g.served(ctx, kind.group, kind.resource)
		if err != nil {
			g.beside(part+kind.resource, "list", kind.resource, "", err)
			continue
		}
		if !ok {
			continue // this cluster has no such kind, so it has none of them
		}
		if g.Dynamic == nil {
			g.beside(part+kind.resource, "list", kind.resource, "", errors.New("they were not read"))
			continue
		}
		found, err := g.objects(ctx, resource, "")
		if err != nil {
			g.beside(part+kind.resource, "list", kind.resource, "", err)
		}
		for i := range found {
			all = append(all, kind.modes(&found[i])...)
		}
	}
	slices.SortFunc(all, func(a, b MTLSPolicy) int {
		return strings.Compare(a.Ref()+" "+a.Scope, b.Ref()+" "+b.Scope)
	})
	g.policy = all
}

// objects lists all of a kind, in one namespace or in all.
func (g *gatherer) objects(ctx context.Context, resource schema.GroupVersionResource, namespace string) (all []unstructured.Unstructured, err error) {
	err = pages(func(o metav1.ListOptions) (string, error) {
		page, err := g.Dynamic.Resource(resource).Namespace(namespace).List(ctx, o)
		if err != nil {
			return "", err
		}
		all = append(all, page.Items...)
		return page.GetContinue(), nil
	}, metav1.ListOptions{}, func() { all = nil })
	return all, err
}

// served finds the version in which the API server has a kind, the newest first,
// by discovery: client-go has no types for these, and old clusters old versions.
func (g *gatherer) served(ctx context.Context, group, resource string) (found schema.GroupVersionResource, ok bool, err error) {
	groups, err := g.groups(ctx)
	if err != nil {
		return found, false, err
	}
	for _, version := range groups[group] {
		list, err := g.Kube.Discovery().ServerResourcesForGroupVersionWithContext(ctx, group+"/"+version)
		if err != nil {
			if absent(err) {
				continue
			}
			return found, false, err
		}
		for _, r := range list.APIResources {
			if r.Name == resource {
				return schema.GroupVersionResource{Group: group, Version: version, Resource: resource}, true, nil
			}
		}
	}
	return found, false, nil
}

// groups are the API server's groups and their versions, asked for once.
func (g *gatherer) groups(ctx context.Context) (map[string][]string, error) {
	g.once.Do(func() {
		list, err := g.Kube.Discovery().ServerGroupsWithContext(ctx)
		if err != nil {
			g.discoveryError = err
			return
		}
		g.discoveredGroups = map[string][]string{}
		for _, group := range list.Groups {
			for _, v := range group.Versions {
				g.discoveredGroups[group.Name] = append(g.discoveredGroups[group.Name], v.Version)
			}
		}
	})
	return g.discoveredGroups, g.discoveryError
}

// peerAuthentication: without a mode it is as its namespace's, or the mesh's.
func peerAuthentication(o *unstructured.Unstructured) []MTLSPolicy {
	p := MTLSPolicy{Kind: "PeerAuthentication", Namespace: o.GetNamespace(), Name: o.GetName(), Mode: "UNSET"}
	if mode, _, _ := unstructured.NestedString(o.Object, "spec", "mtls", "mode"); mode != "" {
		p.Mode = mode
	}
	if labels, _, _ := unstructured.NestedStringMap(o.Object, "spec", "selector", "matchLabels"); len(labels) > 0 {
		p.Scope = "workloads " + metav1.FormatLabelSelector(&metav1.LabelSelector{MatchLabels: labels})
	}
	all := []MTLSPolicy{p}
	ports, _, _ := unstructured.NestedMap(o.Object, "spec", "portLevelMtls")
	for port, value := range ports {
		settings, _ := value.(map[string]any)
		mode, _ := settings["mode"].(string)
		q := p
		q.Scope, q.Mode = strings.TrimSpace(p.Scope+" port "+port), mode
		all = append(all, q)
	}
	return all
}

// destinationRule: what clients send, of all ports and subsets that say so.
func destinationRule(o *unstructured.Unstructured) (all []MTLSPolicy) {
	host, _, _ := unstructured.NestedString(o.Object, "spec", "host")
	add := func(policy map[string]any, scope string) {
		if mode, _, _ := unstructured.NestedString(policy, "tls", "mode"); mode != "" {
			all = append(all, MTLSPolicy{Kind: "DestinationRule", Namespace: o.GetNamespace(), Name: o.GetName(), Mode: mode, Scope: scope})
		}
	}
	within := func(policy map[string]any, scope string) {
		add(policy, scope)
		ports, _, _ := unstructured.NestedSlice(policy, "portLevelSettings")
		for _, p := range ports {
			if settings, ok := p.(map[string]any); ok {
				add(settings, scope+", a port")
			}
		}
	}
	policy, _, _ := unstructured.NestedMap(o.Object, "spec", "trafficPolicy")
	within(policy, "host "+host)
	subsets, _, _ := unstructured.NestedSlice(o.Object, "spec", "subsets")
	for _, s := range subsets {
		subset, _ := s.(map[string]any)
		policy, _, _ := unstructured.NestedMap(subset, "trafficPolicy")
		name, _ := subset["name"].(string)
		within(policy, "host "+host+", subset "+name)
	}
	return all
}

// authenticationPolicy reads Policy and MeshPolicy: an entry of mtls without a mode
// is STRICT (istio 1.4.0 authentication/v1alpha1/policy.proto, MutualTls).
func authenticationPolicy(kind string) func(*unstructured.Unstructured) []MTLSPolicy {
	return func(o *unstructured.Unstructured) []MTLSPolicy {
		p := MTLSPolicy{Kind: kind, Namespace: o.GetNamespace(), Name: o.GetName(), Mode: "DISABLE"}
		peers, _, _ := unstructured.NestedSlice(o.Object, "spec", "peers")
		for _, entry := range peers {
			peer, _ := entry.(map[string]any)
			value, ok := peer["mtls"]
			if !ok {
				continue
			}
			p.Mode = "STRICT"
			if mtls, _ := value.(map[string]any); mtls != nil {
				if mode, _ := mtls["mode"].(string); mode != "" {
					p.Mode = mode
				}
				if allow, _ := mtls["allowTls"].(bool); allow {
					p.Mode = "PERMISSIVE"
				}
			}
		}
		if targets, _, _ := unstructured.NestedSlice(o.Object, "spec", "targets"); len(targets) > 0 {
			p.Scope = "some services"
		}
		return []MTLSPolicy{p}
	}
}
