package check

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/pki"
)

// Category groups rules for readers.
type Category string

const (
	Access  Category = "access"  // what could not be read
	Release Category = "release" // known faults by release
	CA      Category = "ca"      // where the CA comes from, and its material
	Trust   Category = "trust"   // do all who publish or hold roots agree
	Proxies Category = "proxies" // what each live proxy has loaded
	Expiry  Category = "expiry"  // who ends when
	Reach   Category = "reach"   // how a new root would get everywhere
	MTLS    Category = "mtls"    // does the mesh depend on its root at all
)

// Categories are all of them, in the order they are shown.
func Categories() []Category {
	return []Category{Access, MTLS, Release, CA, Trust, Proxies, Expiry, Reach}
}

// Finding is one thing that is wrong, or worth knowing, about a mesh.
type Finding struct {
	ID       string       `json:"id"`
	Category Category     `json:"category"`
	Severity pki.Severity `json:"severity"`
	// Object is what it is about: "proxy a/b", "secret istio-system/cacerts".
	Object  string `json:"object"`
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`

	proxies []string
}

// Proxies are the proxies that it is about, as namespace/name; none where it is
// about something else.
func (f Finding) Proxies() []string { return f.proxies }

// Policy is what the operator regards as too near, and as proof.
type Policy struct {
	// WarnBefore and FailBefore are how long before its end a certificate of a CA
	// is a warning and an error.
	WarnBefore, FailBefore time.Duration
	// CSRProof asks for every replica's answer to a certificate request: without
	// one the replica is unknown.
	CSRProof bool

	once *once
}

// once is what several rules of one run make of its Snapshot.
type once struct {
	snapshot *mesh.Snapshot
	classes  []Class
}

// classes are those of the Snapshot, made once in a run.
func (p Policy) classes(s *mesh.Snapshot) []Class {
	if p.once == nil || p.once.snapshot != s {
		return Classes(s)
	}
	if p.once.classes == nil {
		p.once.classes = Classes(s)
	}
	return p.once.classes
}

// DefaultPolicy warns 60 days and fails 30 days before a CA ends.
func DefaultPolicy() Policy {
	return Policy{WarnBefore: 60 * 24 * time.Hour, FailBefore: 30 * 24 * time.Hour}
}

// Rule is one check.
type Rule struct {
	ID       string
	Category Category
	About    string
	// Needs names what it looks at, for the reader of a rule that found none of it.
	Needs string
	// Reads are the API resources it rests on: where one of them could not be read
	// whole, the rule may find faults, but never passes.
	Reads []string
	// Facts is true where a finding of SeverityInfo is worth knowing and no failure
	// of the rule: it passes beside it.
	Facts bool
	// Run returns what it found, and how many objects it looked at: a rule that
	// looked at nothing has not passed.
	Run func(*mesh.Snapshot, Policy) (findings []Finding, looked int)
}

// Skip is a rule that did not pass and found no fault.
type Skip struct {
	Rule     string   `json:"rule"`
	Category Category `json:"category"`
	Why      string   `json:"why"`
	// Unknown is true where a part that it rests on could not be read; otherwise
	// there is nothing in this mesh that it could look at.
	Unknown bool `json:"unknown,omitempty"`
}

// Report is what all rules say of one Snapshot.
type Report struct {
	Findings []Finding `json:"findings"`
	// Passed are the IDs of the rules that looked at something and found no fault.
	Passed  []string `json:"passed"`
	Skipped []Skip   `json:"skipped,omitempty"`
	// Ends says when the mesh's roots and signers end, the first one first.
	Ends []End `json:"ends,omitempty"`
}

// Worst is the highest severity among the findings, "" where there is none.
func (r Report) Worst() pki.Severity {
	worst := pki.Severity("")
	for _, f := range r.Findings {
		if rank(f.Severity) > rank(worst) {
			worst = f.Severity
		}
	}
	return worst
}

func rank(s pki.Severity) int {
	return slices.Index([]pki.Severity{"", pki.SeverityInfo, pki.SeverityWarning, pki.SeverityError}, s)
}

// Run applies every rule.
func Run(s *mesh.Snapshot, p Policy) Report {
	report := Report{Findings: []Finding{}, Passed: []string{}, Ends: Ends(s)}
	p.once = &once{snapshot: s}
	for _, rule := range Rules() {
		findings, looked := rule.Run(s, p)
		for i := range findings {
			findings[i].Category = rule.Category
			if findings[i].ID == "" {
				findings[i].ID = rule.ID
			}
		}
		report.Findings = append(report.Findings, findings...)
		if rule.failed(findings) {
			continue
		}
		if why, unread := rule.unread(s); unread {
			report.Skipped = append(report.Skipped, Skip{Rule: rule.ID, Category: rule.Category, Why: why, Unknown: true})
		} else if looked == 0 {
			report.Skipped = append(report.Skipped, Skip{Rule: rule.ID, Category: rule.Category, Why: cmp.Or(rule.Needs, "there was nothing to look at")})
		} else {
			report.Passed = append(report.Passed, rule.ID)
		}
	}
	slices.SortStableFunc(report.Findings, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(slices.Index(Categories(), a.Category), slices.Index(Categories(), b.Category)),
			-cmp.Compare(rank(a.Severity), rank(b.Severity)), cmp.Compare(a.ID, b.ID), cmp.Compare(a.Object, b.Object), cmp.Compare(a.Message, b.Message))
	})
	// Revisions that share a Secret say the same of it.
	report.Findings = slices.CompactFunc(report.Findings, func(a, b Finding) bool {
		return a.Category == b.Category && a.Severity == b.Severity && a.ID == b.ID && a.Object == b.Object && a.Message == b.Message
	})
	return report
}

func (r Rule) failed(findings []Finding) bool {
	return slices.ContainsFunc(findings, func(f Finding) bool { return !r.Facts || f.Severity != pki.SeverityInfo })
}

// istiods are what a rule on control planes and their replicas rests on, and more
// beside it.
func istiods(more ...string) []string { return append([]string{"deployments", "pods"}, more...) }

// unread reports whether a part that the rule rests on is missing.
func (r Rule) unread(s *mesh.Snapshot) (why string, unread bool) {
	for _, g := range s.Unread() {
		if slices.Contains(r.Reads, g.Resource) {
			return fmt.Sprintf("%s could not be read", g.Part), true
		}
	}
	return "", false
}

// Rules are all checks.
func Rules() []Rule {
	return slices.Concat(accessRules(), mtlsRules(), citadelRules(), releaseRules(), caRules(), managedRules(), trustRules(), proxyRules(), expiryRules(), reachRules())
}

// crowd names proxies: one by its name, many by their number and the first.
func crowd(refs []string) string {
	if len(refs) == 1 {
		return "proxy " + refs[0]
	}
	return fmt.Sprintf("%d proxies, one is %s", len(refs), refs[0])
}

// crowds collects proxies that have the same fault, in the order they are met:
// ten thousand of one kind are one finding.
type crowds[K comparable] struct {
	order []K
	refs  map[K][]string
}

func (c *crowds[K]) add(k K, ref string) {
	if c.refs == nil {
		c.refs = map[K][]string{}
	}
	if _, ok := c.refs[k]; !ok {
		c.order = append(c.order, k)
	}
	c.refs[k] = append(c.refs[k], ref)
}

// unparsable says why Go has no view of a certificate.
func unparsable(c *pki.Certificate) string {
	if c.Err == nil {
		return "it was not parsed"
	}
	return c.Err.Error()
}

func stamp(t time.Time) string {
	if t.IsZero() {
		return "an unknown time"
	}
	return t.UTC().Format(time.RFC3339)
}
