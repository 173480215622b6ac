package check

import (
	"cmp"
	"strings"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
)

// Unseen is a part that could not be read and that a verdict on trust does not
// rest on.
type Unseen struct {
	Part  string `json:"part"`
	Error string `json:"error"`
	// Adds is what it would have told besides.
	Adds string `json:"adds"`
}

// NotSeen lists the Gaps that close no gate, and what of the mesh is not in the Snapshot
// at all: other clusters, and istiods of revisions that were not asked for. So a verdict
// that is green without them says so.
func NotSeen(s *mesh.Snapshot) []Unseen {
	var all []Unseen
	for _, g := range s.Gaps {
		lost := g.Resource == "nodes" && g.Verb == "" // not refused: a gate waits for it
		if optional(g.Resource) && !lost {
			all = append(all, Unseen{Part: cmp.Or(g.Part, g.Resource), Error: g.Error, Adds: adds(g.Resource)})
		}
	}
	for _, url := range s.MeshCAURLs {
		all = append(all, Unseen{Part: "roots behind " + url + " (meshConfig.caCertificates)", Error: "only istiods fetch them", Adds: "whether a root that a proxy trusts besides comes from there, if --mesh-root names them"})
	}
	for _, r := range s.Remotes {
		all = append(all, Unseen{Part: r.Kind + " " + strings.TrimPrefix(r.Namespace+"/"+r.Name, "/"), Error: "it says that the mesh may have another cluster, and this is of one alone", Adds: "what proxies there have loaded, if you ask in its own context"})
	}
	for _, plane := range s.ControlPlanes {
		for _, r := range plane.Replicas {
			if r.ClientsError != "" {
				all = append(all, Unseen{Part: "clients of istiod " + plane.Namespace + "/" + r.Pod, Error: r.ClientsError, Adds: "whether a virtual machine is connected that no WorkloadEntry names"})
			}
		}
		if plane.Elsewhere != "" {
			all = append(all, Unseen{Part: "istiod of this mesh", Error: plane.Elsewhere, Adds: "what it signs with, and which roots it hands out, if you ask in its own context"})
		}
	}
	for _, name := range s.LeftOut {
		all = append(all, Unseen{Part: "istiod " + name, Error: "another revision was asked for", Adds: "what it signs with, and which roots it hands out"})
	}
	return all
}

func adds(resource string) string {
	switch resource {
	case "secrets":
		return "which CA the next start of an istiod would load, and who signs by the Secret"
	case "services":
		return "whether gateways lead to another cluster of the same mesh, whose proxies no list here shows"
	case "workloadentries":
		return "virtual machines in the mesh, whose proxies no list of pods shows"
	case "nodes", "leases":
		return "whether kubelets report, and so how old the files of their pods may be"
	case "replicasets", "jobs":
		return "which workloads the pods belong to"
	}
	return "more about the mesh"
}
