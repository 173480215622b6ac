package mesh

import "slices"

// Ignored are the namespaces that istiod writes no ConfigMap into (istio 1.30.3
// pkg/config/analysis/analyzers/util, IgnoredNamespaces; not kube-system since 1.21).
func Ignored(namespace string) bool {
	switch namespace {
	case "kube-system", "kube-public", "kube-node-lease", "local-path-storage":
		return true
	}
	return false
}

// TakesPart reports whether a namespace has proxies, or any pod of it may get one.
func (s *Snapshot) TakesPart(n Namespace) bool {
	return n.Revision != "" || n.Ambient || slices.ContainsFunc(s.Proxies, func(p Proxy) bool { return p.Namespace == n.Name })
}

// Unkept reports whether nobody writes a namespace's trust ConfigMap any more, and nobody
// reads it: where the namespace is being deleted (istio 1.30.3 pilot/pkg/serviceregistry/
// kube/controller/namespacecontroller.go, namespaceChange), and where istiods before 1.11,
// which wrote into every namespace, have left one for good (pull request 33383).
func (s *Snapshot) Unkept(n Namespace) bool {
	writes := func(plane ControlPlane) bool { return n.Name == "kube-system" && !Before(plane.Version, "1.21.0") }
	return n.Terminating || Ignored(n.Name) && !s.TakesPart(n) && !slices.ContainsFunc(s.ControlPlanes, writes)
}
