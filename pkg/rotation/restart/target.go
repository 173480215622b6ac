package restart

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/meshca/kubectl-meshca/internal/plain"
	"github.com/meshca/kubectl-meshca/pkg/mesh"
)

// Method is how a workload's pods are replaced, or why they are not.
type Method string

const (
	// Rollout: its template's annotation kubectl.kubernetes.io/restartedAt is set, and
	// its controller replaces every pod.
	Rollout Method = "rollout"
	// Evict: the pods that need it are evicted one at a time, which honours
	// PodDisruptionBudgets, and the next only once the one before is made up for.
	Evict Method = "evict"
	// Listed: never restarted, only named: jobs, bare pods, unknown controllers.
	Listed Method = "listed"
	// Ask: restarted only where Config.Allow names it, for it serves nobody meanwhile
	// or may not tolerate a second of its kind.
	Ask Method = "ask"
	// Refused: a restart would break a PodDisruptionBudget, or not happen at all.
	Refused Method = "refused"
)

// Pod is one pod whose proxy needs a restart.
type Pod struct {
	Name string `json:"name"`
	UID  string `json:"uid"`
}

// Target is one workload with proxies that need a restart.
type Target struct {
	Ref
	Method Method `json:"method"`
	// Why says why this method, Remedy what to do where nothing is restarted.
	Why    string `json:"why,omitempty"`
	Remedy string `json:"remedy,omitempty"`
	// Budget is namespace/name of the PodDisruptionBudget in the way.
	Budget string `json:"budget,omitempty"`
	// Pods are those that need it; Replaced is how many the method replaces.
	Pods     []Pod `json:"pods"`
	Replaced int   `json:"replaced"`
	// Unavailable is how many of its pods may be away at once.
	Unavailable int `json:"unavailable"`

	class int
	way   way
	// begun: an earlier run has marked its template.
	begun   bool
	labels  []map[string]string
	budgets []string
}

// String is "deployment a/server".
func (t Target) String() string { return t.Ref.String() }

// String is "deployment a/server", or "pod a/x" where nothing owns it.
func (r Ref) String() string {
	return strings.ToLower(cmp.Or(r.Kind, "pod")) + " " + r.Namespace + "/" + r.Name
}

func compare(a, b Ref) int {
	return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name))
}

// judge decides how one workload is restarted. allowed is the operator's word by
// name.
func judge(ref Ref, proxies []mesh.Proxy, i *Inventory, since time.Time, allowed bool) Target {
	t := Target{Ref: ref}
	for _, p := range proxies {
		t.Pods = append(t.Pods, Pod{p.Name, p.UID})
		t.labels = append(t.labels, p.Labels)
		t.class = max(t.class, classOf(p.Kind))
	}
	say := func(m Method, why, remedy string) Target {
		t.Method, t.Why, t.Remedy = m, why, remedy
		if m != Rollout && m != Evict {
			t.Replaced, t.Unavailable = 0, 0
		}
		return t
	}
	c, found := i.controllers[ref]
	switch {
	case ref.Kind == "":
		return say(Listed, "nothing would make it again", "delete and create it by hand")
	case ref.Kind == "Job" || ref.Kind == "CronJob":
		return say(Listed, "its work would begin again", "let it end, or delete it by hand")
	case !listable(ref.Kind):
		return say(Listed, "how a "+ref.Kind+" replaces its pods is not known", "restart it by its own means")
	case !found:
		return say(Refused, "there is no such "+ref.Kind, "look who owns the pods, or plan again: it may just have been replaced")
	case c.way == paused:
		return say(Refused, c.why, "kubectl rollout resume "+plain.Word(strings.ToLower(ref.Kind)+"/"+ref.Name)+" -n "+plain.Word(ref.Namespace))
	case c.replicas == 0:
		return say(Listed, "it is scaled to zero: its pods are going", "wait until they are gone")
	}
	t.labels = append(t.labels, c.labels)
	t.way, t.begun = c.way, c.begun(since)
	t.Method, t.Why, t.Unavailable, t.Replaced = Rollout, c.why, c.unavailable, c.replicas
	if c.way == singly {
		t.Method, t.Replaced = Evict, len(t.Pods)
	}
	covering := i.covering(ref.Namespace, t.labels)
	for _, b := range covering {
		t.budgets = append(t.budgets, b.ref())
	}
	if b, why, remedy := forbids(t, covering); why != "" && !t.begun {
		t.Budget = b.ref()
		return say(Refused, why, remedy)
	}
	if allowed || t.begun {
		return t // what is on its way can only be waited for
	}
	const remedy = "name it if it may be restarted"
	switch {
	case c.way == recreate:
		return say(Ask, c.why, remedy)
	case c.holdsBack:
		return say(Ask, c.why+", and its template was changed since: pods that are replaced come back with a change that was not rolled out", "roll the change out, or "+remedy)
	case c.replicas == 1:
		return say(Ask, "it has a single replica", remedy)
	case t.class == ztunnels && t.Unavailable > 0:
		return say(Ask, "a node's ztunnel is away while it restarts, and the mesh's traffic of that node with it", "set maxSurge in its update strategy, or "+remedy)
	}
	return t
}

// forbids finds the budget that a restart would break even while every pod serves,
// or whose figures do not tell. A rollout asks no budget, so it is asked here;
// what never takes a pod away breaks none.
func forbids(t Target, covering []Budget) (b Budget, why, remedy string) {
	if t.Unavailable == 0 {
		return b, "", ""
	}
	if t.Method == Evict && len(covering) > 1 {
		// kubernetes pkg/registry/core/pod/storage/eviction.go
		return covering[0], fmt.Sprintf("%s and %s cover the same pods, and the API server evicts none that two budgets cover", covering[0], covering[1].ref()), "leave one of the two budgets"
	}
	for _, b := range covering {
		switch {
		case b.unknown != "":
			return b, fmt.Sprintf("poddisruptionbudget %s: %s", b.ref(), b.unknown), "see 'kubectl describe pdb " + plain.Word(b.name) + " -n " + plain.Word(b.namespace) + "', then plan again"
		case t.Unavailable <= b.ever():
		case t.Method == Evict:
			return b, fmt.Sprintf("%s, so none may be evicted", b), "let the budget spare a pod, or add a replica"
		case t.Kind == "Deployment":
			return b, fmt.Sprintf("%s, and a rollout, which does not ask it, may take %d away", b, t.Unavailable), "set maxUnavailable: 0 and maxSurge: 1 or more in its rolling update, or let the budget spare more pods"
		default:
			return b, fmt.Sprintf("%s, and a rollout, which does not ask it, may take %d away", b, t.Unavailable), "let the budget spare as many pods, or add replicas"
		}
	}
	return Budget{}, "", ""
}

// What stands in front of others is restarted after them: whoever comes through it
// meets settled workloads.
const (
	sidecars = iota
	waypoints
	gateways
	ztunnels
)

func classOf(kind mesh.ProxyKind) int {
	switch kind {
	case mesh.Waypoint:
		return waypoints
	case mesh.Gateway:
		return gateways
	case mesh.Ztunnel:
		return ztunnels
	}
	return sidecars
}
