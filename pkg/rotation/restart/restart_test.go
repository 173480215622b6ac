package restart_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/rotation/restart"
	appsv1 "k8s.io/api/apps/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"
)

func drawWorld(t *rapid.T) *world {
	kinds := []string{"Deployment", "Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Job", ""}
	var loads []*load
	for n := range rapid.IntRange(1, 9).Draw(t, "workloads") {
		l := &load{kind: rapid.SampledFrom(kinds).Draw(t, "kind"), namespace: rapid.SampledFrom([]string{"a", "b"}).Draw(t, "namespace"), name: fmt.Sprintf("w%d", n),
			group: rapid.SampledFrom([]string{"x", "y"}).Draw(t, "group"), replicas: rapid.IntRange(1, 4).Draw(t, "replicas"), needs: rapid.Bool().Draw(t, "needs"),
			unavailable: rapid.IntRange(0, 2).Draw(t, "unavailable"), surge: rapid.IntRange(0, 1).Draw(t, "surge")}
		l.unavailable = min(l.unavailable, l.replicas)
		switch l.kind {
		case "Deployment":
			l.recreate = rapid.IntRange(0, 3).Draw(t, "recreate") == 0
		case "StatefulSet", "DaemonSet":
			if l.onDelete = rapid.Bool().Draw(t, "onDelete"); l.kind == "DaemonSet" && l.surge > 0 {
				l.unavailable = 0
			}
		}
		loads = append(loads, l)
	}
	w := newWorld(loads, nil)
	var rules []rule
	for n := range rapid.IntRange(0, 3).Draw(t, "budgets") {
		r := rule{namespace: rapid.SampledFrom([]string{"a", "b"}).Draw(t, "in"), group: rapid.SampledFrom([]string{"", "x", "y"}).Draw(t, "over"), name: fmt.Sprint("pdb", n)}
		if expected, _ := w.count(r); expected > 0 {
			r.desired = rapid.IntRange(0, expected).Draw(t, "desired")
			rules = append(rules, r)
		}
	}
	w = newWorld(loads, rules)
	pace, steps := rapid.SliceOfN(rapid.IntRange(0, 2), 5, 5).Draw(t, "pace"), 0
	w.step = func(of int) int {
		if steps++; w.passes%6 == 5 {
			return of // so that it ends
		}
		return min(of, pace[steps%5])
	}
	return w
}

// TestEveryWorld: whatever the workloads and budgets, never more than N at once,
// never one that needs none, never a budget broken, and everything that needs a
// restart has one or is named.
func TestEveryWorld(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := drawWorld(t)
		atOnce := rapid.IntRange(1, 4).Draw(t, "at once")
		config := restart.Config{Since: epoch.Add(-time.Minute), AtOnce: atOnce}
		for _, l := range w.loads {
			if rapid.Bool().Draw(t, "allowed") {
				config.Allow = append(config.Allow, l.ref())
			}
		}
		// Cut at some moment, planned again and carried on.
		ctx, cancel := context.WithCancelCause(t.Context())
		cut := rapid.IntRange(0, 30).Draw(t, "cut")
		named := map[string]restart.Method{}
		for round := range 2 {
			if round == 1 {
				w.pass() // no process starts so soon that a controller has not looked
			}
			proxies := slices.DeleteFunc(w.proxies(), func(p mesh.Proxy) bool { return round == 1 && replaced(w, p) })
			i, err := restart.Read(t.Context(), w.kube, proxies)
			if err != nil {
				t.Fatal(err)
			}
			plan := restart.NewPlan(proxies, i, config)
			for _, left := range plan.Left {
				if left.Why == "" || left.Remedy == "" || left.Method == restart.Rollout || left.Method == restart.Evict {
					t.Errorf("left without a reason: %+v", left)
				}
				named[left.Namespace+"/"+strings.TrimSuffix(left.Name, suffix(left))] = left.Method
			}
			looks := 0
			r := &restart.Runner{Kube: w.kube, Clock: w, Since: config.Since, Patience: time.Hour, Before: func(context.Context) error {
				if looks++; round == 0 && looks > cut {
					cancel(errors.New("cut"))
					return errors.New("cut")
				}
				return nil
			}}
			if round == 1 {
				ctx = t.Context()
			}
			_, err = r.Run(ctx, plan)
			if err != nil && (round == 1 || err.Error() != "cut") {
				t.Fatal(err)
			}
		}
		cancel(nil)
		if w.wrong != "" {
			t.Fatal(w.wrong)
		}
		if w.most > atOnce {
			t.Fatalf("%d at once, of %d", w.most, atOnce)
		}
		for _, l := range w.loads {
			touched := slices.Contains(w.writes, l.ref())
			_, left := named[l.ref()]
			switch {
			case touched && !l.needs:
				t.Errorf("%s %s was restarted and needs none", l.kind, l.ref())
			case l.needs && touched == left:
				t.Errorf("%s %s: restarted %t, named %t", l.kind, l.ref(), touched, left)
			case l.needs && touched && (l.rolling || l.away > 0 || l.updated < l.replicas):
				t.Errorf("%s %s is not whole at the end: %+v", l.kind, l.ref(), l)
			}
			if count := strings.Count(strings.Join(w.writes, " ")+" ", l.ref()+" "); !l.singly() && count > 1 {
				t.Errorf("%s was restarted %d times", l.ref(), count)
			}
		}
	})
}

// replaced reports whether a first round has made this proxy anew.
func replaced(w *world, p mesh.Proxy) bool {
	for _, l := range w.loads {
		if l.ref() == p.Namespace+"/"+p.Name[:len(p.Name)-2] {
			if l.kind != "" && l.mark != "" && !l.rolling {
				return true
			}
			there, err := w.kube.CoreV1().Pods(p.Namespace).Get(context.Background(), p.Name, metav1.GetOptions{})
			return err != nil || string(there.UID) != p.UID
		}
	}
	return false
}

func suffix(t restart.Target) string {
	if t.Kind == "" {
		return t.Name[len(t.Name)-2:]
	}
	return ""
}

func planOf(t *testing.T, w *world, config restart.Config) *restart.Plan {
	t.Helper()
	i, err := restart.Read(t.Context(), w.kube, w.proxies())
	if err != nil {
		t.Fatal(err)
	}
	return restart.NewPlan(w.proxies(), i, config)
}

// TestMethods: what becomes of one workload, and the words that say why.
func TestMethods(t *testing.T) {
	for name, test := range map[string]struct {
		load   load
		rules  []rule
		allow  bool
		method restart.Method
		says   string
	}{
		"rolling":                {load: load{kind: "Deployment", replicas: 3, unavailable: 1}, method: restart.Rollout},
		"single":                 {load: load{kind: "Deployment", replicas: 1, surge: 1}, method: restart.Ask, says: "single replica"},
		"single, allowed":        {load: load{kind: "Deployment", replicas: 1, surge: 1}, allow: true, method: restart.Rollout},
		"recreate":               {load: load{kind: "Deployment", replicas: 3, recreate: true}, method: restart.Ask, says: "Recreate"},
		"recreate, allowed":      {load: load{kind: "Deployment", replicas: 3, recreate: true}, allow: true, method: restart.Rollout},
		"recreate over a budget": {load: load{kind: "Deployment", replicas: 3, recreate: true}, rules: []rule{{desired: 1}}, allow: true, method: restart.Refused, says: "pdb0"},
		"too many away":          {load: load{kind: "Deployment", replicas: 3, unavailable: 2}, rules: []rule{{desired: 2}}, method: restart.Refused, says: "maxUnavailable: 0"},
		"as many as it spares":   {load: load{kind: "Deployment", replicas: 3, unavailable: 1}, rules: []rule{{desired: 2}}, method: restart.Rollout},
		"none away":              {load: load{kind: "Deployment", replicas: 3, surge: 1}, rules: []rule{{desired: 3}}, method: restart.Rollout},
		"both zero is one":       {load: load{kind: "Deployment", replicas: 3}, rules: []rule{{desired: 3}}, method: restart.Refused, says: "may take 1 away"},
		"stateful":               {load: load{kind: "StatefulSet", replicas: 2}, rules: []rule{{desired: 2}}, method: restart.Refused, says: "2 of 2"},
		"stateful, OnDelete":     {load: load{kind: "StatefulSet", replicas: 2, onDelete: true}, method: restart.Evict, says: "OnDelete"},
		"a change held back":     {load: load{kind: "StatefulSet", replicas: 2, onDelete: true, heldBack: 1}, method: restart.Ask, says: "not rolled out"},
		"held back by daemons":   {load: load{kind: "DaemonSet", replicas: 2, onDelete: true, heldBack: 2}, method: restart.Ask, says: "not rolled out"},
		"held back, and allowed": {load: load{kind: "DaemonSet", replicas: 2, onDelete: true, heldBack: 2}, allow: true, method: restart.Evict},
		"daemons":                {load: load{kind: "DaemonSet", replicas: 2, unavailable: 1}, method: restart.Rollout},
		"bare set":               {load: load{kind: "ReplicaSet", replicas: 2}, method: restart.Evict},
		"bare set, none spared":  {load: load{kind: "ReplicaSet", replicas: 2}, rules: []rule{{desired: 2}}, method: restart.Refused, says: "evicted"},
		"bare set, two budgets":  {load: load{kind: "ReplicaSet", replicas: 2}, rules: []rule{{desired: 1}, {desired: 0}}, method: restart.Refused, says: "two budgets"},
		"job":                    {load: load{kind: "Job", replicas: 1}, allow: true, method: restart.Listed, says: "work"},
		"bare pod":               {load: load{replicas: 1}, allow: true, method: restart.Listed, says: "by hand"},
		"somebody's own kind":    {load: load{kind: "CloneSet", replicas: 2}, method: restart.Listed, says: "CloneSet"},
		"an unrelated budget":    {load: load{kind: "Deployment", replicas: 3, unavailable: 2}, rules: []rule{{group: "other", desired: 0}}, method: restart.Rollout},
	} {
		t.Run(name, func(t *testing.T) {
			l := test.load
			l.namespace, l.name, l.group, l.needs = "a", "w", "x", true
			for n := range test.rules {
				test.rules[n].namespace, test.rules[n].name = "a", fmt.Sprint("pdb", n)
			}
			config := restart.Config{}
			if test.allow {
				config.Allow = []string{"a/w", "a/w-0"}
			}
			plan := planOf(t, newWorld([]*load{&l}, test.rules), config)
			all := slices.Concat(append(slices.Clone(plan.Waves), plan.Left)...)
			if len(all) != 1 || all[0].Method != test.method || !strings.Contains(all[0].Why+"; "+all[0].Remedy, test.says) {
				t.Errorf("%+v", all)
			}
		})
	}
}

func TestNoNeed(t *testing.T) {
	l := &load{kind: "Deployment", namespace: "a", name: "w", replicas: 2, needs: true}
	proxies := newWorld([]*load{l}, nil).proxies()
	proxies[0].Terminating, proxies[1].Created = true, epoch
	if plan := restart.NewPlan(proxies, restart.NewInventory(l.object()), restart.Config{Since: epoch.Add(-time.Second)}); len(plan.Waves)+len(plan.Left) > 0 {
		t.Errorf("%+v", plan)
	}
	if plan := restart.NewPlan(proxies, restart.NewInventory(l.object()), restart.Config{Since: epoch}); len(plan.Waves) != 1 || len(plan.Waves[0][0].Pods) != 1 || plan.Cost.Pods != 2 {
		t.Errorf("%+v", plan)
	}
}

// TestOrder: gateways after what they lead to, ztunnels last, and a wave is of one
// namespace.
func TestOrder(t *testing.T) {
	var loads []*load
	for _, name := range []string{"g", "s", "z", "t"} {
		loads = append(loads, &load{kind: "Deployment", namespace: "a", name: name, replicas: 2, surge: 1, needs: true})
	}
	loads[3].namespace = "b"
	w := newWorld(loads, nil)
	proxies := w.proxies()
	for i := range proxies {
		switch proxies[i].Workload.Name {
		case "g":
			proxies[i].Kind = mesh.Gateway
		case "z":
			proxies[i].Kind = mesh.Ztunnel
		}
	}
	i, err := restart.Read(t.Context(), w.kube, proxies)
	if err != nil {
		t.Fatal(err)
	}
	plan := restart.NewPlan(proxies, i, restart.Config{AtOnce: 9})
	var order []string
	for _, wave := range plan.Waves {
		order = append(order, wave[0].Name)
	}
	if strings.Join(order, "") != "stgz" || plan.Cost != (restart.Cost{Waves: 4, Workloads: 4, Pods: 8}) {
		t.Errorf("%v %+v", order, plan.Cost)
	}
	for i := range proxies {
		proxies[i].Kind = mesh.Ztunnel
	}
	loads[0].surge, loads[0].unavailable = 0, 1
	if plan := restart.NewPlan(proxies[:1], restart.NewInventory(loads[0].object()), restart.Config{}); len(plan.Left) != 1 || plan.Left[0].Method != restart.Ask {
		t.Errorf("%+v", plan)
	}
}

// TestStranger: pods of an Argo Rollout, and of a ReplicaSet whose Deployment is
// gone, are evicted through their ReplicaSet.
func TestStranger(t *testing.T) {
	for kind, label := range map[string]string{"Rollout": "rollouts-pod-template-hash", "Deployment": "pod-template-hash"} {
		l := &load{kind: "ReplicaSet", namespace: "a", name: "w-5d", replicas: 2, needs: true}
		w := newWorld([]*load{l}, nil)
		proxies := w.proxies()
		for i := range proxies {
			proxies[i].Workload, proxies[i].Labels = mesh.Workload{Kind: kind, Name: "w"}, map[string]string{label: "5d"}
		}
		i, err := restart.Read(t.Context(), w.kube, proxies)
		if err != nil {
			t.Fatal(err)
		}
		plan := restart.NewPlan(proxies, i, restart.Config{})
		if len(plan.Waves) != 1 || plan.Waves[0][0].String() != "replicaset a/w-5d" || plan.Waves[0][0].Method != restart.Evict {
			t.Errorf("%s: %+v", kind, plan)
		}
	}
}

// TestUncounted: a budget whose figures mean nothing allows nothing.
func TestUncounted(t *testing.T) {
	l := &load{kind: "Deployment", namespace: "a", name: "w", replicas: 3, unavailable: 1, needs: true}
	w := newWorld([]*load{l}, nil)
	for name, change := range map[string]func(*policyv1.PodDisruptionBudget){
		"unseen": func(p *policyv1.PodDisruptionBudget) { p.Generation = 2 },
		"empty":  func(p *policyv1.PodDisruptionBudget) { p.Status = policyv1.PodDisruptionBudgetStatus{} },
		"failing": func(p *policyv1.PodDisruptionBudget) {
			p.Status.Conditions = []metav1.Condition{{Type: policyv1.DisruptionAllowedCondition, Reason: policyv1.SyncFailedReason}}
		},
		"illegible": func(p *policyv1.PodDisruptionBudget) {
			p.Spec.Selector = &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "a", Operator: "?"}}}
		},
	} {
		p := w.budget(rule{namespace: "a", name: "p"})
		if plan := restart.NewPlan(w.proxies(), restart.NewInventory(l.object(), p), restart.Config{}); len(plan.Left) > 0 {
			t.Errorf("counted: %+v", plan)
		}
		change(p)
		plan := restart.NewPlan(w.proxies(), restart.NewInventory(l.object(), p), restart.Config{})
		if len(plan.Left) != 1 || plan.Left[0].Method != restart.Refused || plan.Left[0].Budget != "a/p" {
			t.Errorf("%s: %+v", name, plan)
		}
	}
}

func TestPausedAndPartition(t *testing.T) {
	l := &load{kind: "Deployment", namespace: "a", name: "w", replicas: 3, needs: true}
	w := newWorld([]*load{l}, nil)
	d := l.object().(*appsv1.Deployment)
	d.Spec.Paused = true
	if plan := restart.NewPlan(w.proxies(), restart.NewInventory(d), restart.Config{}); len(plan.Left) != 1 || !strings.Contains(plan.Left[0].Remedy, "resume") {
		t.Errorf("%+v", plan)
	}
	l.kind = "StatefulSet"
	s := l.object().(*appsv1.StatefulSet)
	two := int32(2)
	s.Spec.UpdateStrategy.RollingUpdate = &appsv1.RollingUpdateStatefulSetStrategy{Partition: &two}
	if plan := restart.NewPlan(w.proxies(), restart.NewInventory(s), restart.Config{}); len(plan.Waves) != 1 || plan.Waves[0][0].Method != restart.Evict {
		t.Errorf("%+v", plan)
	}
}

// TestFailures: what goes wrong is named, and no further wave is begun.
func TestFailures(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*world)
		says   string
		is     error
	}{
		"may not patch": {change: func(w *world) { w.refuse = "patch" }, says: "not allowed to patch deployments.apps in namespace a"},
		"may not evict": {change: func(w *world) { w.refuse = "evict"; w.loads[0].kind = "ReplicaSet" }, says: "not allowed to create pods/eviction in namespace a"},
		"never ends":    {change: func(w *world) { w.step = func(int) int { return 0 } }, says: "deployment a/w, wave 1 of 2", is: restart.ErrStuck},
		"deadline":      {change: func(w *world) { w.loads[0].broken = true }, says: "progress deadline"},
		"taken back":    {change: func(w *world) { w.take = "a/w" }, says: "took the mark back"},
	} {
		t.Run(name, func(t *testing.T) {
			loads := []*load{{kind: "Deployment", namespace: "a", name: "w", replicas: 2, unavailable: 1, needs: true}, {kind: "Deployment", namespace: "b", name: "w", replicas: 2, needs: true}}
			w := newWorld(loads, nil)
			test.change(w)
			fresh := newWorld(loads, nil)
			w.kube = fresh.kube
			fresh.refuse = w.refuse
			plan := planOf(t, w, restart.Config{})
			var states []restart.State
			r := &restart.Runner{Kube: w.kube, Clock: w, Patience: 10 * time.Minute, Emit: func(p restart.Progress) { states = append(states, p.State) }}
			results, err := r.Run(t.Context(), plan)
			if err == nil || !strings.Contains(err.Error(), test.says) || test.is != nil && !errors.Is(err, test.is) {
				t.Errorf("%v", err)
			}
			var p *restart.PermissionError
			if strings.HasPrefix(name, "may not") != errors.As(err, &p) {
				t.Errorf("%T", err)
			}
			if len(results) != 1 || loads[1].mark != "" {
				t.Errorf("a wave after the one that failed: %+v", results)
			}
			if test.is == nil && states[len(states)-1] != restart.Failed {
				t.Errorf("%v", states)
			}
		})
	}
}

func TestForbiddenLists(t *testing.T) {
	w := newWorld([]*load{{kind: "Deployment", namespace: "a", name: "w", replicas: 2, needs: true}}, nil)
	for _, resource := range []string{"deployments", "poddisruptionbudgets"} {
		w.refuse = "list " + resource
		_, err := restart.Read(t.Context(), w.kube, w.proxies())
		if p, ok := errors.AsType[*restart.PermissionError](err); !ok || p.Verb != "list" || p.Namespace != "a" || !strings.HasPrefix(p.Resource, resource) {
			t.Errorf("%s: %v", resource, err)
		}
	}
}

// TestOneListEach: a hundred workloads cost as many requests as one.
func TestOneListEach(t *testing.T) {
	var loads []*load
	for n := range 100 {
		loads = append(loads, &load{kind: "Deployment", namespace: "a", name: fmt.Sprint("w", n), replicas: 1, needs: true})
	}
	w := newWorld(loads, nil)
	planOf(t, w, restart.Config{})
	if n := len(w.kube.Actions()); n != 2 {
		t.Errorf("%d requests", n)
	}
}

// TestCancelled: the end of the context ends the wait.
func TestCancelled(t *testing.T) {
	w := newWorld([]*load{{kind: "Deployment", namespace: "a", name: "w", replicas: 2, needs: true, broken: false}}, nil)
	w.step = func(int) int { return 0 }
	plan := planOf(t, w, restart.Config{})
	ctx, cancel := context.WithCancelCause(t.Context())
	cause := errors.New("somebody has had enough")
	r := &restart.Runner{Kube: w.kube, Clock: w, Emit: func(p restart.Progress) {
		if p.State == restart.Restarting {
			cancel(cause)
		}
	}}
	if _, err := r.Run(ctx, plan); !errors.Is(err, cause) {
		t.Errorf("%v", err)
	}
}

// TestLateBudget: what others took since the plan was made is waited for.
func TestLateBudget(t *testing.T) {
	loads := []*load{{kind: "Deployment", namespace: "a", name: "w", group: "x", replicas: 2, unavailable: 1, needs: true}, {kind: "ReplicaSet", namespace: "a", name: "o", group: "x", replicas: 2}}
	w := newWorld(loads, []rule{{namespace: "a", name: "p", group: "x", desired: 3}})
	plan := planOf(t, w, restart.Config{})
	loads[1].away = 1
	w.pass()
	waited := false
	r := &restart.Runner{Kube: w.kube, Clock: w, Emit: func(p restart.Progress) {
		if p.State == restart.Waiting && strings.Contains(p.Detail, "poddisruptionbudget a/p") {
			waited = true
			loads[1].away = 0
		}
	}}
	if _, err := r.Run(t.Context(), plan); err != nil || !waited || w.wrong != "" {
		t.Errorf("%v, waited %t, %s", err, waited, w.wrong)
	}
}

// TestNotBegun: what still waits when another of its wave fails is not begun.
func TestNotBegun(t *testing.T) {
	loads := []*load{{name: "p", group: "y", broken: true, needs: true}, {name: "q", group: "x", needs: true}, {name: "r", group: "x"}}
	for _, l := range loads {
		l.kind, l.namespace, l.replicas, l.unavailable = "Deployment", "a", 2, 1
	}
	w := newWorld(loads, []rule{{namespace: "a", name: "p", group: "x", desired: 3}})
	plan := planOf(t, w, restart.Config{})
	loads[2].away = 1
	w.pass()
	r := &restart.Runner{Kube: w.kube, Clock: w, Emit: func(p restart.Progress) {
		if p.Target.Name == "p" && p.State == restart.Failed {
			loads[2].away = 0
		}
	}}
	results, err := r.Run(t.Context(), plan)
	if err == nil || len(results) != 2 || !strings.Contains(err.Error(), "deployment a/q: not begun") || slices.Contains(w.writes, "a/q") {
		t.Errorf("%v %+v", err, results)
	}
}

// TestShared: two that may both take a pod of one budget away go one after the
// other, and may go with a third that takes none.
func TestShared(t *testing.T) {
	loads := []*load{{name: "p", unavailable: 1}, {name: "q", unavailable: 1}, {name: "r", surge: 1}}
	for _, l := range loads {
		l.kind, l.namespace, l.group, l.replicas, l.needs = "Deployment", "a", "x", 2, true
	}
	plan := planOf(t, newWorld(loads, []rule{{namespace: "a", name: "p", group: "x", desired: 5}}), restart.Config{})
	if len(plan.Waves) != 2 || len(plan.Waves[0]) != 2 || plan.Waves[1][0].Name != "q" {
		t.Errorf("%+v", plan.Waves)
	}
}
