package rotation

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
)

// Revision is what one control plane does in a plan. All that sign from one Secret take
// part in one rotation: a step is proven by every replica of every one of them.
type Revision struct {
	Name     string `json:"name"` // namespace/name of its Deployment
	Revision string `json:"revision"`
	Version  string `json:"version,omitempty"`
	Replicas int32  `json:"replicas"`
	Proxies  int    `json:"proxies"`
	Restarts int    `json:"restarts"` // of each of its replicas, over all steps
	Does     string `json:"does"`
}

// behind is a workload that waves would restart.
type behind struct{ Namespace, Kind, Name string }

// workloads are those that each step's waves would restart, each once.
func (p *Plan) workloads(s *mesh.Snapshot) {
	p.behind = map[string][]behind{}
	for _, step := range slices.Concat(p.Steps, p.Back) {
		if step.Waves == "" {
			continue
		}
		var all []behind
		for _, proxy := range step.restarted(s.Proxies) {
			w := behind{proxy.Namespace, cmp.Or(proxy.Workload.Kind, "pod"), cmp.Or(proxy.Workload.Name, proxy.Name)}
			if !slices.Contains(all, w) {
				all = append(all, w)
			}
		}
		p.behind[step.key()] = all
	}
}

// revisions says what each control plane does in the steps that were chosen.
func (p *Plan) revisions(s *mesh.Snapshot) {
	for _, plane := range s.ControlPlanes {
		r := Revision{Name: plane.Namespace + "/" + plane.Name, Revision: plane.Revision, Version: plane.Version, Replicas: plane.Desired}
		for _, proxy := range s.Proxies {
			if proxy.Revision == plane.Revision || slices.Contains(plane.Tags, proxy.Revision) {
				r.Proxies++
			}
		}
		for _, step := range p.Course() {
			if step.Restart {
				r.Restarts++
			}
		}
		roots, signer := inPlace(plane)
		var does []string
		say := func(what string, hot bool) {
			if hot {
				does = append(does, "loads a changed "+what+" in place")
			} else {
				does = append(does, "takes a changed "+what+" by a restart")
			}
		}
		if p.Strategy != Intermediate {
			say("bundle", roots)
		}
		say("signer", signer)
		r.Does = strings.Join(does, ", ")
		if r.Restarts > 0 && (roots || p.Strategy == Intermediate) && signer {
			r.Does += fmt.Sprintf("; restarted %d times with the others, for what only a start does", r.Restarts)
		} else if r.Restarts > 0 {
			r.Does += fmt.Sprintf("; restarted %d times", r.Restarts)
		}
		p.Revisions = append(p.Revisions, r)
	}
}

// inPlace says what a control plane loads without a restart: another bundle, another
// signer.
func inPlace(plane mesh.ControlPlane) (roots, signer bool) {
	return plane.Flags.MultiRoot && mesh.TakesRoots(plane.Version), plane.Flags.AutoReload
}
