package plugin

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/check"
	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/pki"
	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"
)

const checkExample = `  # everything that is known about meshes, held against this one
  kubectl meshca check

  # in CI: fail on warnings too, a year before a CA ends
  kubectl meshca check --fail-on warning --warn-before 400d --fail-before 365d -o json

  # offline, from a saved snapshot; of the proxies only those of one namespace are shown
  kubectl meshca check --from-snapshot mesh.json -n payments`

// checkReport is the result of "check".
type checkReport struct {
	APIVersion string    `json:"apiVersion"`
	Kind       string    `json:"kind"`
	At         time.Time `json:"at"`
	// Passed is false where a finding is as bad as --fail-on.
	Passed   bool   `json:"passed"`
	Verdict  string `json:"verdict"`
	Errors   int    `json:"errors"`
	Warnings int    `json:"warnings"`
	// Rules are the IDs of the rules that looked and found nothing.
	Rules   []string        `json:"rulesPassed"`
	Skipped []check.Skip    `json:"rulesSkipped,omitempty"`
	Ends    []check.End     `json:"ends,omitempty"`
	Items   []check.Finding `json:"items"`

	bad    int
	hidden int
}

func newCheckCommand(c *cluster, streams genericiooptions.IOStreams) *cobra.Command {
	source := sourceFlags{clients: true}
	var output, failOn, selector string
	var allNamespaces bool
	warn, fail := days(check.DefaultPolicy().WarnBefore), days(check.DefaultPolicy().FailBefore)
	cmd := &cobra.Command{
		Use:     "check",
		Aliases: []string{"check-root"},
		Short:   "Check the trust of the mesh: CA, releases, roots, proxies, expiry",
		Long: "Reads the mesh and holds every rule against it, by category, with a hint for each\n" +
			"finding. It changes nothing (--csr-proof makes a service account and removes it).\n" +
			"-n and -l filter the findings about proxies that are shown, never the verdict.\n\n" +
			"Exit codes: 0 nothing found, 2 findings of --fail-on or worse, 1 it could not be done,\n" +
			"64 bad usage.",
		Example: checkExample,
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := source.validate(); err != nil {
				return err
			}
			if err := validOutput(output); err != nil {
				return err
			}
			level := pki.Severity(failOn)
			if level != pki.SeverityError && level != pki.SeverityWarning {
				return usage(fmt.Errorf("--fail-on %q", failOn), "use error or warning")
			}
			if warn < fail {
				return usage(fmt.Errorf("--warn-before %s is shorter than --fail-before %s", &warn, &fail), "warn earlier than you fail")
			}
			s, show, err := source.filtered(cmd.Context(), c, streams, selector, allNamespaces)
			if err != nil {
				return err
			}
			policy := check.Policy{WarnBefore: time.Duration(warn), FailBefore: time.Duration(fail), CSRProof: source.csrProof}
			report := newCheckReport(s, policy, level)
			report.filter(s, show)
			c.carryFindings(report.Items)
			if err := printResult(streams.Out, output, report); err != nil {
				return err
			}
			return report.failure()
		},
	}
	source.addFlags(cmd.Flags())
	outputFlag(cmd, &output)
	filterFlags(cmd, &selector, &allNamespaces)
	cmd.Flags().Var(&warn, "warn-before", "warn where a CA ends within this time (60d, 1440h)")
	cmd.Flags().Var(&fail, "fail-before", "fail where a CA ends within this time")
	cmd.Flags().StringVar(&failOn, "fail-on", string(pki.SeverityError), "error or warning: what makes exit code 2")
	completions(cmd, "fail-on", "error", "warning")
	return cmd
}

// newCheckReport judges a Snapshot; it is pure. The verdict is made here, before
// anything is left out of what is shown.
func newCheckReport(s *mesh.Snapshot, p check.Policy, level pki.Severity) *checkReport {
	report := check.Run(s, p)
	r := &checkReport{APIVersion: mesh.APIVersion, Kind: "CheckReport", At: s.TakenAt, Rules: report.Passed, Skipped: report.Skipped, Ends: report.Ends, Items: report.Findings}
	for _, f := range r.Items {
		switch f.Severity {
		case pki.SeverityError:
			r.Errors++
		case pki.SeverityWarning:
			r.Warnings++
		}
	}
	if r.bad = r.Errors; level == pki.SeverityWarning {
		r.bad += r.Warnings
	}
	r.Passed = r.bad == 0
	unknown := 0
	for _, skip := range r.Skipped {
		if skip.Unknown {
			unknown++
		}
	}
	word := "failed"
	if r.Passed {
		word = "passed"
	}
	r.Verdict = fmt.Sprintf("%s, %s; %s passed, %d could not be made, %d had nothing to look at: %s",
		counted(r.Errors, "error"), counted(r.Warnings, "warning"), counted(len(r.Rules), "check"), unknown, len(r.Skipped)-unknown, word)
	return r
}

// filter leaves out findings about proxies alone, of which none is to be shown.
func (r *checkReport) filter(s *mesh.Snapshot, show func(string, map[string]string) bool) {
	shown := map[string]bool{}
	for _, p := range s.Proxies {
		shown[p.Ref()] = show(p.Namespace, p.Labels)
	}
	all := len(r.Items)
	r.Items = slices.DeleteFunc(r.Items, func(f check.Finding) bool {
		return len(f.Proxies()) > 0 && !slices.ContainsFunc(f.Proxies(), func(ref string) bool { return shown[ref] })
	})
	r.hidden = all - len(r.Items)
}

func (r *checkReport) failure() error {
	if r.Passed {
		return nil
	}
	return found(fmt.Errorf("%s of --fail-on or worse", counted(r.bad, "finding")), "each names what to do")
}

func (r *checkReport) rows(wide bool) [][]string {
	rows := [][]string{}
	about := map[string]check.Rule{}
	for _, rule := range check.Rules() {
		about[rule.ID] = rule
	}
	for _, category := range check.Categories() {
		rows = append(rows, []string{strings.ToUpper(string(category))})
		for _, f := range r.Items {
			if f.Category != category || f.Severity == pki.SeverityInfo && !wide {
				continue
			}
			rows = append(rows, []string{"  " + string(f.Severity), f.Object + ": " + f.Message})
			if f.Hint != "" {
				rows = append(rows, []string{"    hint", f.Hint})
			}
		}
		for _, skip := range r.Skipped {
			if skip.Category != category {
				continue
			}
			word := "  skipped"
			if skip.Unknown {
				word = "  unknown"
			}
			rows = append(rows, []string{word, about[skip.Rule].About + ": " + skip.Why})
		}
		for _, id := range r.Rules {
			if about[id].Category == category {
				rows = append(rows, []string{"  ok", about[id].About})
			}
		}
		if category == check.Expiry {
			for _, end := range r.Ends {
				rows = append(rows, []string{"  " + end.Role, fmt.Sprintf("%s (%s): %s", end.Subject, end.Fingerprint.Short(), endsIn(end))})
			}
		}
	}
	if r.hidden > 0 {
		rows = append(rows, []string{counted(r.hidden, "finding") + " about other proxies not shown"})
	}
	return append(rows, []string{"verdict: " + r.Verdict + " (clock: " + stamp(r.At) + ")"})
}

func endsIn(end check.End) string {
	if end.Days < 0 {
		return fmt.Sprintf("ended %s ago, at %s", counted(-end.Days, "day"), stamp(end.NotAfter))
	}
	return fmt.Sprintf("ends in %s, at %s", counted(end.Days, "day"), stamp(end.NotAfter))
}

func (r *checkReport) names() []string {
	all := []string{}
	for _, f := range r.Items {
		all = append(all, f.ID+"/"+f.Object)
	}
	return all
}
