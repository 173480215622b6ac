package restart

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
)

// DefaultAtOnce is how many workloads are restarted at once where nothing is said.
const DefaultAtOnce = 3

// Config is what the operator wants.
type Config struct {
	// Since: a pod that was created after it has what a restart would give it. It is
	// on the API server's clock.
	Since time.Time
	// AtOnce bounds how many workloads are being restarted at one time.
	AtOnce int
	// Allow names, as namespace/name, the workloads that are only restarted when
	// asked for by name.
	Allow []string
}

// Plan says which workloads are restarted, in which order, and which are not.
type Plan struct {
	// Waves follow each other: one begins when every workload of the one before
	// serves again with new pods. All of a wave are of one namespace.
	Waves [][]Target `json:"waves,omitempty"`
	// Left are the workloads that need a restart and get none, each with the reason.
	Left []Target `json:"left,omitempty"`
	Cost Cost     `json:"cost"`
}

// Cost is what the waves take.
type Cost struct {
	Waves     int `json:"waves"`
	Workloads int `json:"workloads"`
	// Pods is how many are replaced: a rollout replaces those too that need no restart.
	Pods int `json:"pods"`
	// Asked, Refused and Listed count what is left out, in workloads and bare pods.
	Asked   int `json:"asked"`
	Refused int `json:"refused"`
	Listed  int `json:"listed"`
}

// NewPlan decides; it is pure. proxies are those that need a restart; of them the
// ones that are ending, or began after Since, are passed over.
func NewPlan(proxies []mesh.Proxy, i *Inventory, config Config) *Plan {
	needing := map[Ref][]mesh.Proxy{}
	for _, p := range proxies {
		if !needs(p, config.Since) {
			continue
		}
		ref := workloadOf(p, i)
		if ref.Kind == "" {
			ref.Name = p.Name
		}
		needing[ref] = append(needing[ref], p)
	}
	plan := &Plan{}
	var chosen []Target
	for _, ref := range slices.SortedFunc(maps.Keys(needing), compare) {
		t := judge(ref, needing[ref], i, config.Since, slices.Contains(config.Allow, ref.Namespace+"/"+ref.Name))
		switch t.Method {
		case Rollout, Evict:
			chosen = append(chosen, t)
			plan.Cost.Workloads++
			plan.Cost.Pods += t.Replaced
			continue
		case Ask:
			plan.Cost.Asked++
		case Refused:
			plan.Cost.Refused++
		default:
			plan.Cost.Listed++
		}
		plan.Left = append(plan.Left, t)
	}
	atOnce := config.AtOnce
	if atOnce <= 0 {
		atOnce = DefaultAtOnce
	}
	plan.Waves = waves(chosen, i, atOnce)
	plan.Cost.Waves = len(plan.Waves)
	return plan
}

// needs reports whether a proxy runs in a pod that is old and stays. The pod's
// creation counts, not its start: both are truncated to seconds, and the node's
// clock is nobody's.
func needs(p mesh.Proxy, since time.Time) bool {
	return !p.Terminating && (since.IsZero() || !p.Created.After(since))
}

// waves puts each target into the first wave of its namespace and class that has
// room, and whose workloads together leave every shared budget whole. What an
// earlier run has begun comes first: it is on its way already.
func waves(targets []Target, i *Inventory, atOnce int) [][]Target {
	slices.SortStableFunc(targets, func(a, b Target) int {
		if a.begun != b.begun {
			if a.begun {
				return -1
			}
			return 1
		}
		return cmp.Or(cmp.Compare(a.class, b.class), compare(a.Ref, b.Ref))
	})
	var all [][]Target
	first := 0 // of this namespace and class
	for n, t := range targets {
		if n > 0 && (t.class != targets[n-1].class || t.Namespace != targets[n-1].Namespace) {
			first = len(all)
		}
		at := first
		for at < len(all) && (len(all[at]) >= atOnce || !together(append(slices.Clone(all[at]), t), i)) {
			at++
		}
		if at == len(all) {
			all = append(all, nil)
		}
		all[at] = append(all[at], t)
	}
	return all
}

// together reports whether these may be away at once as far as budgets go.
func together(targets []Target, i *Inventory) bool {
	away := map[string]int{}
	for _, t := range targets {
		for _, name := range t.budgets {
			if away[name] += t.Unavailable; t.Unavailable > 0 && away[name] > i.budgets[name].ever() {
				return false
			}
		}
	}
	return true
}
