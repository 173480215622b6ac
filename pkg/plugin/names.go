package plugin

import (
	"slices"

	"github.com/meshca/kubectl-meshca/pkg/pki"
	"github.com/meshca/kubectl-meshca/pkg/rotation"
)

// names are the words of a kind that flags take.
func names[T ~string](kinds []T) []string {
	all := make([]string, 0, len(kinds))
	for _, k := range kinds {
		all = append(all, string(k))
	}
	return all
}

func strategyNames() []string { return names(rotation.Strategies()) }
func reasonNames() []string   { return names(rotation.Reasons()) }
func keySpecNames() []string  { return names(pki.KeySpecs()) }

// phaseNames are those of all strategies, in the order in which they come.
func phaseNames() []string {
	known := map[string]bool{string(rotation.Prepare): true, string(rotation.Adopt): true}
	for _, s := range rotation.Strategies() {
		for _, p := range s.Phases() {
			known[string(p)] = true
		}
	}
	order := names([]rotation.Phase{rotation.Prepare, rotation.Adopt, rotation.TrustNew, rotation.SignNew, rotation.SwapTrust, rotation.DistrustOld, rotation.DropCross, rotation.Done})
	all := slices.DeleteFunc(order, func(p string) bool { return !known[p] })
	for p := range known {
		if !slices.Contains(all, p) {
			panic("the phase " + p + " has no place in the order")
		}
	}
	return all
}
