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
	all := []string{string(rotation.Prepare), string(rotation.Adopt)}
	for _, s := range rotation.Strategies() {
		for _, p := range names(s.Phases()) {
			if !slices.Contains(all, p) {
				all = append(all, p)
			}
		}
	}
	return all
}
