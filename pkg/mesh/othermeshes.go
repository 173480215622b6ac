package mesh

import (
	"context"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// otherMeshes are the control planes of other namespaces, where one namespace's were
// asked for: several meshes may share a cluster (istio.io, "Install Multiple Istio Control
// Planes in a Single Cluster"). Where they may not be listed there are none, and whoever
// asks them is an unknown proxy of this mesh, which closes gates.
func (g *gatherer) otherMeshes(ctx context.Context) (all []ControlPlane) {
	if g.IstioNamespace == "" || len(g.s.ControlPlanes) == 0 {
		return nil
	}
	deployments, err := g.deploymentsOf(ctx, metav1.NamespaceAll, istiodSelector)
	if err != nil {
		return nil
	}
	for i := range deployments {
		if deployments[i].Namespace != g.IstioNamespace {
			plane, _ := planeOf(&deployments[i])
			all = append(all, plane)
		}
	}
	return all
}

// elsewhere reports whether a proxy is known to be of another mesh: by the namespace of
// the istiod that it asks, else by its revision.
func (g *gatherer) elsewhere(p Proxy) bool {
	of := func(planes []ControlPlane, namespace string) bool {
		return slices.ContainsFunc(planes, func(plane ControlPlane) bool { return plane.Namespace == namespace })
	}
	if _, namespace := host(p.CAAddr); of(g.others, namespace) || of(g.s.ControlPlanes, namespace) {
		return !of(g.s.ControlPlanes, namespace)
	}
	return g.othersRevision(p.Revision)
}

// othersRevision reports whether a revision is another mesh's, and none of this one's.
func (g *gatherer) othersRevision(revision string) bool {
	by := func(plane ControlPlane) bool { return plane.GoesBy(revision) }
	return revision != "" && slices.ContainsFunc(g.others, by) && !slices.ContainsFunc(g.s.ControlPlanes, by)
}
