package check

import (
	"cmp"
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
)

// Categories are all of them, in the order they are shown.
func Categories() []Category {
	return []Category{Access, Release, CA, Trust, Proxies, Expiry, Reach}
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
}

// Policy is what the operator regards as too near.
type Policy struct {
	// WarnBefore and FailBefore are how long before its end a certificate of a CA
	// is a warning and an error.
	WarnBefore, FailBefore time.Duration
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
	// Run returns what it found, and how many objects it looked at: a rule that
	// looked at nothing has not passed.
	Run func(*mesh.Snapshot, Policy) (findings []Finding, looked int)
}

// Skip is a rule that had nothing to look at.
type Skip struct {
	Rule     string   `json:"rule"`
	Category Category `json:"category"`
	Why      string   `json:"why"`
}

// Report is what all rules say of one Snapshot.
type Report struct {
	Findings []Finding `json:"findings"`
	Passed   []string  `json:"passed"`
	Skipped  []Skip    `json:"skipped,omitempty"`
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
	report := Report{Findings: []Finding{}, Passed: []string{}}
	for _, rule := range Rules() {
		findings, looked := rule.Run(s, p)
		for i := range findings {
			findings[i].Category = rule.Category
			if findings[i].ID == "" {
				findings[i].ID = rule.ID
			}
		}
		report.Findings = append(report.Findings, findings...)
		switch {
		case len(findings) > 0:
		case looked == 0:
			report.Skipped = append(report.Skipped, Skip{Rule: rule.ID, Category: rule.Category, Why: "there was nothing to look at"})
		default:
			report.Passed = append(report.Passed, rule.ID)
		}
	}
	slices.SortStableFunc(report.Findings, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(slices.Index(Categories(), a.Category), slices.Index(Categories(), b.Category)),
			-cmp.Compare(rank(a.Severity), rank(b.Severity)), cmp.Compare(a.ID, b.ID), cmp.Compare(a.Object, b.Object))
	})
	return report
}

// Rules are all checks.
func Rules() []Rule {
	return slices.Concat(accessRules(), releaseRules(), caRules(), trustRules(), proxyRules(), expiryRules(), reachRules())
}
