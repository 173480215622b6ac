package report

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/rotation"
)

// row is a fact and its name.
type row struct{ Name, Text string }

// facts are the head of a report.
func (r *Report) facts() []row {
	all := []row{
		{"verdict", r.Verdict}, {"cluster", cmp.Or(r.Cluster, "unknown")}, {"istiod's namespace", cmp.Or(r.Namespace, "unknown")},
		{"read", stamp(r.At) + " from " + r.Source},
	}
	j := r.Rotation
	if j == nil {
		return append(all, row{"rotation", "none is known"})
	}
	way := ""
	if j.Back {
		way = ", on its way back"
	}
	all = append(all,
		row{"rotation", fmt.Sprintf("%s: %s, because %s", j.ID, cmp.Or(string(j.Strategy), "no strategy"), cmp.Or(string(j.Reason), "nothing was said"))},
		row{"stands at", string(j.Phase) + way + ", " + stamp(j.Updated)})
	for i, run := range j.Runs {
		all = append(all, row{fmt.Sprintf("run %d", i+1), run.Identity() + ", since " + stamp(run.Began)})
	}
	if f := j.Figures; f != nil {
		all = append(all, row{"took", fmt.Sprintf("%.1f s of work, %.1f s of waits; %d istiods and %d workload pods restarted, %d nudges, %d proxies", f.Engine, f.Waits, f.Restarts, f.Workloads, f.Nudges, f.Proxies)})
	}
	if j.Sealed != "" {
		all = append(all, row{"sealed copy", j.Sealed})
	}
	if j.Failure != "" {
		all = append(all, row{"the last run ended with", j.Failure})
	}
	return all
}

// authorities are the certificates that a rotation is about.
func (r *Report) authorities() []row {
	if r.Rotation == nil {
		return nil
	}
	j := r.Rotation
	var all []row
	for _, c := range []struct {
		name string
		rotation.Brief
	}{{"old root", j.OldRoot}, {"old signer", j.OldSigner}, {"new root", j.NewRoot}, {"new signer", j.NewSigner}} {
		if c.Subject != "" {
			all = append(all, row{c.name, fmt.Sprintf("%s, until %s, sha256 %s", c.Subject, stamp(c.NotAfter), c.Fingerprint)})
		}
	}
	return all
}

// counts are what was proven of what there is.
func (r *Report) counts() []row {
	s := r.Status
	return []row{
		{"istiods", count(s.Replicas) + " (" + cmp.Or(s.Evidence, "no evidence") + ")"}, {"trust ConfigMaps", count(s.ConfigMaps)},
		{"webhooks", count(s.Webhooks)}, {"proxies", count(s.Proxies)},
		{"classes of proxies", fmt.Sprintf("%d; of %d pairs %d would refuse each other", len(r.Classes), r.Pairs, len(r.Refused))},
	}
}

func count(c rotation.Count) string { return fmt.Sprintf("%d of %d", c.Ready, c.Of) }

func stamp(t time.Time) string {
	if t.IsZero() {
		return "unknown"
	}
	return t.UTC().Format("2006-01-02 15:04:05Z")
}

// proxies are those that a gate has asked, where it asked any.
func (g Gate) proxies() string {
	if g.Listed {
		return fmt.Sprintf("%d listed, none asked", g.Proxies.Of)
	}
	return count(g.Proxies)
}

// state is the proof of a proxy in a word, or why there is none.
func (p Proxy) state() string {
	if p.Proven {
		return "proven"
	}
	return "not proven: " + cmp.Or(p.Why, "unknown")
}

// trust names the roots that a proxy has loaded.
func (p Proxy) trust() string {
	var all []string
	for _, b := range p.Roots {
		all = append(all, b.Subject+" "+b.Fingerprint.Short())
	}
	return strings.Join(all, "; ")
}

// evidence is what is known of a proxy, and from where.
func (p Proxy) evidence() string {
	switch {
	case p.Evidence == "":
		return ""
	case p.Confirmed:
		return p.Evidence + ", in use by live TLS contexts"
	}
	return p.Evidence
}

func (g Gap) kind() string {
	if g.Unknown {
		return "unknown"
	}
	return "wrong"
}
