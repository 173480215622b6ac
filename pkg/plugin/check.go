package plugin

import (
	"fmt"
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
  kubectl meshca check --fail-on warning --fail-before 365d -o json

  # offline, from a saved snapshot
  kubectl meshca check --from-snapshot mesh.json`

// checkReport is the result of "check".
type checkReport struct {
	APIVersion string    `json:"apiVersion"`
	Kind       string    `json:"kind"`
	At         time.Time `json:"at"`
	Verdict    string    `json:"verdict"`
	check.Report
	Items []check.Finding `json:"items"`
}

func newCheckCommand(c *cluster, streams genericiooptions.IOStreams) *cobra.Command {
	var source sourceFlags
	var output, failOn string
	warn, fail := days(check.DefaultPolicy().WarnBefore), days(check.DefaultPolicy().FailBefore)
	cmd := &cobra.Command{
		Use:     "check",
		Aliases: []string{"check-root"},
		Short:   "Check the trust of the mesh: CA, releases, roots, proxies, expiry",
		Long: "Reads the mesh and holds every rule against it, by category, with a hint for each\n" +
			"finding. It changes nothing (--csr-proof makes a service account and removes it).\n\n" +
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
				return usage(fmt.Errorf("--warn-before %s is shorter than --fail-before %s", &warn, &fail), "")
			}
			s, err := source.snapshot(cmd.Context(), c, streams)
			if err != nil {
				return err
			}
			report := newCheckReport(s, check.Policy{WarnBefore: time.Duration(warn), FailBefore: time.Duration(fail)})
			if err := printResult(streams.Out, output, report); err != nil {
				return err
			}
			return report.failure(level)
		},
	}
	source.addFlags(cmd.Flags())
	outputFlag(cmd, &output)
	cmd.Flags().Var(&warn, "warn-before", "warn where a CA ends within this time (60d, 1440h)")
	cmd.Flags().Var(&fail, "fail-before", "fail where a CA ends within this time")
	cmd.Flags().StringVar(&failOn, "fail-on", string(pki.SeverityError), "error or warning: what makes exit code 2")
	completions(cmd, "fail-on", "error", "warning")
	return cmd
}

func newCheckReport(s *mesh.Snapshot, p check.Policy) checkReport {
	r := checkReport{APIVersion: mesh.APIVersion, Kind: "CheckReport", At: s.TakenAt, Report: check.Run(s, p)}
	r.Items, r.Findings = r.Findings, nil
	errors, warnings := 0, 0
	for _, f := range r.Items {
		switch f.Severity {
		case pki.SeverityError:
			errors++
		case pki.SeverityWarning:
			warnings++
		}
	}
	r.Verdict = fmt.Sprintf("%d errors, %d warnings; %d checks passed, %d had nothing to look at", errors, warnings, len(r.Passed), len(r.Skipped))
	return r
}

func (r checkReport) failure(level pki.Severity) error {
	bad := 0
	for _, f := range r.Items {
		if f.Severity == pki.SeverityError || f.Severity == level {
			bad++
		}
	}
	if bad == 0 {
		return nil
	}
	return found(fmt.Errorf("%d findings", bad), "each names what to do")
}

func (r checkReport) rows(wide bool) [][]string {
	rows := [][]string{}
	about := map[string]check.Rule{}
	for _, rule := range check.Rules() {
		about[rule.ID] = rule
	}
	for _, category := range check.Categories() {
		rows = append(rows, []string{strings.ToUpper(string(category))})
		for _, id := range r.Passed {
			if about[id].Category == category {
				rows = append(rows, []string{"  ok", about[id].About})
			}
		}
		for _, skip := range r.Skipped {
			if skip.Category == category {
				rows = append(rows, []string{"  not checked", about[skip.Rule].About + ": " + skip.Why})
			}
		}
		for _, f := range r.Items {
			if f.Category != category || f.Severity == pki.SeverityInfo && !wide {
				continue
			}
			rows = append(rows, []string{"  " + string(f.Severity), f.Object + ": " + f.Message})
			if f.Hint != "" {
				rows = append(rows, []string{"", "hint: " + f.Hint})
			}
		}
	}
	return append(rows, []string{"verdict: " + r.Verdict + " (clock: " + stamp(r.At) + ")"})
}

func (r checkReport) names() []string {
	var all []string
	for _, f := range r.Items {
		all = append(all, f.ID+"/"+f.Object)
	}
	return all
}
