package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

// The roles that "rbac" prints, under which everything goes, and without one verb of which the error names it.
var roleRows = []row{
	{name: "least-roles-read", about: "each reading command under the roles that rbac prints; one verb less is named", mesh: hot, needs: []string{"rbac", "check", "verify"}, limit: 6 * time.Minute, play: func(g *game) string {
		r := g.roles("read", "watcher")
		defer r.remove()
		commands := [][]string{{"check"}, {"versions"}, {"verify"}, {"envoy", "-o", "json"}, {"certs"}, {"status"}, {"snapshot"}}
		for _, c := range commands {
			all, some := g.meshca(c...), g.meshca(append(c, "--as", r.user)...)
			g.require(all.code == some.code, c[0]+": exit", itoa(some.code)+", and with all rights", itoa(all.code)+":", some.brief())
			// Whether the old CA is kept stands in a Secret with keys, which who reads need not see: status says so.
			lacks := strings.Count(some.out+some.err, "cannot ") - strings.Count(some.out+some.err, `secrets "meshca-staged" is forbidden`)
			g.require(lacks == 0, c[0], "lacks something:", some.out, some.err)
		}
		named, silent := 0, []string{}
		absent := r.each(func(v verb) {
			// "check" is what an operator sees, "snapshot" says all of what was not read.
			if g.named(v, "check", "-o", "json", "--as", r.user) || g.named(v, "snapshot", "--as", r.user) || g.named(v, "status", "-o", "json", "--as", r.user) {
				named++
				return
			}
			silent = append(silent, v.String())
		})
		slices.Sort(silent)
		// What docs/permissions.md says is done without.
		without := []string{"get namespaces", "list leases.coordination.k8s.io"}
		// Issuers are read of a mesh whose CA cert-manager writes, which this one's is not; its kinds
		// are here where a row before this one has brought them.
		for _, v := range []verb{{"get", "cert-manager.io", "clusterissuers"}, {"get", "cert-manager.io", "issuers"}} {
			if g.served(v) {
				without = append(without, v.String())
			}
		}
		slices.Sort(without)
		g.require(slices.Equal(silent, without), "not named where it was refused:", strings.Join(silent, ", "))
		g.require(named > 10, "only", itoa(named), "verbs were tried")
		return fmt.Sprintf("%d commands; %d verbs named, %d done without, %d of kinds that are not here", len(commands), named, len(silent), absent)
	}},
	{name: "least-roles-rotate", about: "a rotation under the roles that rbac prints; one verb less is named, and given back it goes on", mesh: hot, unrehearsed: "it is of a user whose permissions change", changes: true, needs: []string{"rbac", "rotate", "retire"}, limit: 6 * time.Minute, play: func(g *game) string {
		r := g.roles("rotate", "turner")
		defer r.remove()
		b, t := g.ca("B"), startTally()
		begun := false
		line := func(n int) []string {
			if begun = begun || g.run("", "kubectl", "-n", "istio-system", "get", "secret", "meshca-staged").code == 0; begun {
				return []string{"rotate", "--yes", "--trust-file-wait", "0", "--as", r.user}
			}
			return append(g.swap(g.rotate(b, "--trust-file-wait", "0"), "--sealed-file", fmt.Sprintf("%s/sealed-%d.age", g.dir, n)), "--as", r.user)
		}
		// In the order in which a rotation needs them, up to the first write.
		tried := []verb{{"create", "coordination.k8s.io", "leases"}, {"get", "coordination.k8s.io", "leases"},
			{"create", "", "secrets"}, {"create", "", "configmaps"}, {"patch", "", "configmaps"}, {"update", "coordination.k8s.io", "leases"}, {"update", "", "secrets"}}
		for n, v := range tried {
			r.without(func() {
				o := g.meshca(append(line(n), "--until", "trust-new", "--timeout", "20s")...)
				g.require(o.code != 0, "rotated without", v.String())
				g.require(o.said(v.words()...), "without", v.String(), "it says:", o.out, o.err)
			}, v)
			g.require(g.roots() == read(started(), "root-cert.pem"), "without", v.String(), "something was written")
			if v.verb == "update" { // who may not hold a Lease cannot let go of it either
				g.kubectl("-n", "istio-system", "delete", "lease", "meshca-rotation", "--ignore-not-found")
			}
		}
		// What a rotation does without, it says.
		r.without(func() {
			o := g.meshca(append(line(len(tried)), "--until", "trust-new")...)
			g.require(o.code == 0, "without events, kubelet's nudge and cleaning up: exit", itoa(o.code)+":", o.out, o.err)
			g.require(o.said("events"), "that no Event could be written is not said:", o.out, o.err)
			g.require(o.said("no request may be made"), "that istiods were asked for no certificate is not said:", o.out, o.err)
		}, verb{"create", "", "events"}, verb{"create", "", "serviceaccounts"}, verb{"patch", "", "pods"}, verb{"delete", "", "serviceaccounts"})
		o := g.meshca(line(0)...)
		g.require(o.code == 0, "with all of them: exit", itoa(o.code)+":", o.out, o.err)
		g.require(g.settledOn(read(b, "root-cert.pem")), "the ConfigMaps do not hold the new root alone")
		id := g.kubectl("-n", "istio-system", "get", "secret", "meshca-staged", "-o", `jsonpath={.metadata.labels.meshca\.io/rotation}`)
		remove := verb{"delete", "", "secrets"}
		r.without(func() {
			o := g.meshca("retire", "--confirm", id, "--as", r.user)
			g.require(o.code != 0 && o.said(remove.words()...), "without", remove.String(), "exit", itoa(o.code)+":", o.out, o.err)
		}, remove)
		o = g.meshca("retire", "--confirm", id, "--as", r.user)
		g.require(o.code == 0, "retire: exit", itoa(o.code)+":", o.out, o.err)
		s := t.end()
		g.whole(s)
		return fmt.Sprintf("%s; %d verbs, each named before anything was written", s, len(tried)+1)
	}},
}

// verb is one permission.
type verb struct{ verb, group, resource string }

func (v verb) String() string {
	if v.group != "" {
		return v.verb + " " + v.resource + "." + v.group
	}
	return v.verb + " " + v.resource
}

// words are how the API server's refusal names it.
func (v verb) words() []string {
	return []string{fmt.Sprintf("cannot %s resource %q", v.verb, v.resource)}
}

// named reports whether a command says that this was refused, in a table or in JSON.
func (g *game) named(v verb, args ...string) bool {
	o := g.meshca(args...)
	return o.said(v.words()...) || o.said(fmt.Sprintf(`cannot %s resource \"%s\"`, v.verb, v.resource))
}

// served reports whether the cluster has this kind.
func (g *game) served(v verb) bool {
	resource, _, _ := strings.Cut(v.resource, "/")
	for line := range strings.Lines(g.kubectl("api-resources", "-o", "name")) {
		name, group, _ := strings.Cut(strings.TrimSpace(line), ".")
		if name == resource && group == v.group {
			return true
		}
	}
	return false
}

// roles are what "rbac" prints, in the cluster, bound to one user.
type roles struct {
	g    *game
	user string
	all  []role
}

type role struct {
	APIVersion string             `json:"apiVersion"`
	Kind       string             `json:"kind"`
	Metadata   map[string]any     `json:"metadata"`
	Rules      []map[string]words `json:"rules"`
}

type words []string

func (g *game) roles(purpose, user string) *roles {
	printed := g.meshca("rbac", "--for", purpose)
	g.require(printed.code == 0, "rbac: exit", itoa(printed.code)+":", printed.brief())
	r := &roles{g: g, user: user}
	items := json.NewDecoder(strings.NewReader(g.pipe(printed.out, "kubectl", "create", "-f", "-", "-o", "json")))
	for items.More() {
		var one role
		g.require(items.Decode(&one) == nil, "harness: a role that cannot be read")
		one.Metadata = map[string]any{"name": one.Metadata["name"], "namespace": one.Metadata["namespace"]}
		r.all = append(r.all, one)
		name := one.Metadata["name"].(string)
		if one.Kind == "ClusterRole" {
			g.kubectl("create", "clusterrolebinding", name, "--clusterrole", name, "--user", user)
		} else {
			g.kubectl("-n", one.Metadata["namespace"].(string), "create", "rolebinding", name, "--role", name, "--user", user)
		}
	}
	g.require(len(r.all) > 1, "harness: rbac printed", itoa(len(r.all)), "roles")
	return r
}

func (r *roles) remove() {
	for _, one := range r.all {
		name := one.Metadata["name"].(string)
		if one.Kind == "ClusterRole" {
			r.g.run("", "kubectl", "delete", "clusterrole,clusterrolebinding", name)
		} else {
			r.g.run("", "kubectl", "-n", one.Metadata["namespace"].(string), "delete", "role,rolebinding", name)
		}
	}
}

// each calls yield for every verb of the roles, while nothing allows it. It returns
// how many are of kinds that this cluster has not got.
func (r *roles) each(yield func(verb)) (absent int) {
	seen := map[verb]bool{}
	for _, one := range r.all {
		for _, rule := range one.Rules {
			for _, name := range rule["verbs"] {
				v := verb{name, rule["apiGroups"][0], rule["resources"][0]}
				if seen[v] {
					continue
				}
				if seen[v] = true; !r.g.served(v) {
					absent++
					continue
				}
				r.without(func() { yield(v) }, v)
			}
		}
	}
	return absent
}

// without takes these verbs out of all roles, and gives them back.
func (r *roles) without(do func(), gone ...verb) {
	less := make([]role, 0, len(r.all))
	for _, one := range r.all {
		var rules []map[string]words
		for _, rule := range one.Rules {
			verbs := slices.DeleteFunc(slices.Clone(rule["verbs"]), func(name string) bool {
				return slices.Contains(gone, verb{name, rule["apiGroups"][0], rule["resources"][0]})
			})
			if len(verbs) > 0 {
				rules = append(rules, map[string]words{"apiGroups": rule["apiGroups"], "resources": rule["resources"], "resourceNames": rule["resourceNames"], "verbs": verbs})
			}
		}
		one.Rules = rules
		less = append(less, one)
	}
	r.put(less)
	for _, v := range gone {
		r.g.until(v.String()+" taken away", 20*time.Second, func() bool { return !r.can(v) })
	}
	do()
	r.put(r.all)
	for _, v := range gone {
		r.g.until(v.String()+" given back", 20*time.Second, func() bool { return r.can(v) })
	}
}

// can asks the API server itself; a rule for one name, or one namespace, counts.
func (r *roles) can(v verb) bool {
	for _, one := range r.all {
		for _, rule := range one.Rules {
			if rule["apiGroups"][0] != v.group || rule["resources"][0] != v.resource || !slices.Contains(rule["verbs"], v.verb) {
				continue
			}
			resource, sub, _ := strings.Cut(v.resource, "/")
			if v.group != "" {
				resource += "." + v.group
			}
			if names := rule["resourceNames"]; len(names) > 0 {
				resource += "/" + names[0]
			}
			args := []string{"auth", "can-i", v.verb, resource, "--as", r.user, "-q"}
			if sub != "" {
				args = append(args, "--subresource", sub)
			}
			if namespace, ok := one.Metadata["namespace"].(string); ok {
				args = append(args, "-n", namespace)
			} else {
				args = append(args, "-A")
			}
			if r.g.run("", "kubectl", args...).code == 0 {
				return true
			}
		}
	}
	return false
}

func (r *roles) put(all []role) {
	var text strings.Builder
	for _, one := range all {
		raw, err := json.Marshal(one)
		r.g.require(err == nil, "harness: a role that cannot be written")
		text.Write(raw)
		text.WriteByte('\n')
	}
	r.g.pipe(text.String(), "kubectl", "replace", "-f", "-")
}
