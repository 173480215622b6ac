package plugin

import (
	"context"
	"fmt"
	"slices"

	"github.com/meshca/kubectl-meshca/pkg/check"
	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"k8s.io/cli-runtime/pkg/genericiooptions"
)

// offer says, after the root of a Citadel mesh has changed, which parts of its control
// plane still stand on the old one, and how to restart these: what shows no symptom
// is left alone.
func offer(ctx context.Context, observer *observer, before *mesh.Snapshot, carry func(string) string, streams genericiooptions.IOStreams) {
	if !slices.ContainsFunc(before.ControlPlanes, func(p mesh.ControlPlane) bool { return p.CA.Kind == mesh.CACitadel }) {
		return
	}
	s, err := observer.whole(ctx)
	if err != nil {
		fmt.Fprintln(streams.ErrOut, "warning: whether Pilot, Galley and the injector follow could not be seen: "+plain(err.Error()))
		return
	}
	for _, f := range symptoms(s) {
		fmt.Fprintf(streams.ErrOut, "warning: %s: %s\nhint: %s\n", plain(f.Object), plain(f.Message), plain(carry(f.Hint)))
	}
}

// symptoms are the findings on parts of a Citadel's control plane that have not
// followed its root.
func symptoms(s *mesh.Snapshot) (all []check.Finding) {
	for _, f := range check.Run(s, check.DefaultPolicy()).Findings {
		switch f.ID {
		case "pilot-stale", "galley-stale", "injector-stale", "injector-old-certificate":
			all = append(all, f)
		}
	}
	return all
}
