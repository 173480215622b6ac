package plugin

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/meshca/kubectl-meshca/pkg/check"
	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/pki"
	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"
)

const versionsExample = `  # every istiod, proxy and ztunnel with its release and what is known against it
  kubectl meshca versions

  # with the reasons, one namespace
  kubectl meshca versions -n payments -o wide`

// versionReport is the result of "versions".
type versionReport struct {
	APIVersion string        `json:"apiVersion"`
	Kind       string        `json:"kind"`
	Summary    string        `json:"summary"`
	Items      []versionItem `json:"items"`
}

type versionItem struct {
	Namespace string        `json:"namespace"`
	Name      string        `json:"name"`
	Subject   check.Subject `json:"subject"`
	ProxyKind string        `json:"proxyKind,omitempty"`
	// Citadel is true of one, whose release is judged as an istiod's.
	Citadel bool   `json:"citadel,omitempty"`
	Version string `json:"version,omitempty"`
	// AtLeast is true where only the proxy's Envoy says how old it can be.
	AtLeast bool   `json:"atLeast,omitempty"`
	From    string `json:"from,omitempty"`
	Image   string `json:"image,omitempty"`
	// Verdict is the worst severity of Rules, or unknown, or ok.
	Verdict string              `json:"verdict"`
	Rules   []check.VersionRule `json:"rules,omitempty"`
	// Possible are rules that cannot be ruled out, where the release is not known
	// exactly.
	Possible []string `json:"possibleRules,omitempty"`

	labels map[string]string
}

const (
	verdictOK      = "ok"
	verdictUnknown = "unknown"
)

func newVersionsCommand(c *cluster, streams genericiooptions.IOStreams) *cobra.Command {
	var source sourceFlags
	var output, selector string
	var all bool
	cmd := &cobra.Command{
		Use:     "versions",
		Aliases: []string{"check-version"},
		Short:   "Audit the release of every istiod, proxy and ztunnel",
		Long: "Lists the release of each, by image tag, by its own word, or by its Envoy, with what is\n" +
			"known against it. -n and -l filter the rows, never the verdict. A release that is not\n" +
			"known is said so, and is never ok.\n\n" +
			"Exit codes: 0 nothing against any that is known, 2 a release with a known fault, or\n" +
			"nothing to audit, 1 it could not be done, 64 bad usage.",
		Example: versionsExample,
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := source.validate(); err != nil {
				return err
			}
			if err := validOutput(output); err != nil {
				return err
			}
			s, show, err := source.filtered(cmd.Context(), c, streams, selector, all)
			if err != nil {
				return err
			}
			for _, g := range s.Gaps {
				if g.Resource == "pods" {
					return failed(fmt.Errorf("%s: %s", g.Part, g.Error), "without a complete list there is no audit")
				}
			}
			report := newVersionReport(s)
			for i := range report.Items {
				report.Items[i].Rules = c.carryRules(report.Items[i].Rules)
			}
			verdict := report.failure()
			report.Items = slices.DeleteFunc(report.Items, func(i versionItem) bool { return !show(i.Namespace, i.labels) })
			if err := printResult(streams.Out, output, report); err != nil {
				return err
			}
			return verdict
		},
	}
	source.addFlags(cmd.Flags())
	outputFlag(cmd, &output)
	filterFlags(cmd, &selector, &all)
	return cmd
}

// newVersionReport audits a Snapshot; it is pure.
func newVersionReport(s *mesh.Snapshot) *versionReport {
	r := &versionReport{APIVersion: mesh.APIVersion, Kind: "VersionList", Items: []versionItem{}}
	for _, plane := range s.ControlPlanes {
		citadel := plane.CA.Kind == mesh.CACitadel
		if len(plane.Replicas) == 0 {
			r.Items = append(r.Items, judgeVersion(versionItem{Namespace: plane.Namespace, Name: plane.Name, Subject: check.Istiod, Citadel: citadel, Version: plane.Version, From: "the Deployment's image tag", Image: plane.Image}))
		}
		for _, replica := range plane.Replicas {
			from := "image tag"
			if replica.Version == "" {
				from = "the Deployment's image tag"
			}
			r.Items = append(r.Items, judgeVersion(versionItem{Namespace: plane.Namespace, Name: replica.Pod, Subject: check.Istiod, Citadel: citadel, Version: check.ReleaseOf(plane, replica), From: from, Image: plane.Image}))
		}
	}
	for _, p := range s.Proxies {
		item := versionItem{Namespace: p.Namespace, Name: p.Name, Subject: check.SubjectOf(p), ProxyKind: string(p.Kind), Image: p.Image, From: p.VersionFrom, labels: p.Labels}
		if item.Version, item.AtLeast = p.ReleaseOf(); item.Version != p.Version {
			item.From = "its own word"
			if item.AtLeast {
				item.From = "its Envoy, " + p.Loaded.Info.Envoy
			}
		}
		r.Items = append(r.Items, judgeVersion(item))
	}
	slices.SortStableFunc(r.Items, func(a, b versionItem) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	verdicts := map[string]int{}
	for _, i := range r.Items {
		verdicts[i.Verdict]++
	}
	r.Summary = fmt.Sprintf("%d audited: %d ok, %d error, %d warning, %d unknown", len(r.Items), verdicts[verdictOK],
		verdicts[string(pki.SeverityError)], verdicts[string(pki.SeverityWarning)], verdicts[verdictUnknown])
	return r
}

func judgeVersion(i versionItem) versionItem {
	i.Verdict = verdictOK
	if i.AtLeast {
		// Whichever it is: is anything known against one as new as this?
		for _, rule := range check.MayMatch(i.Subject, i.Version) {
			i.Verdict, i.Possible = verdictUnknown, append(i.Possible, rule.ID)
		}
		return i
	}
	if !check.Exact(i.Version) {
		i.Verdict = verdictUnknown
	}
	i.Rules = check.Matches(i.Subject, i.Version)
	if i.Version == "" {
		i.From = ""
	}
	// The worst comes first. A fault that every patch of a line has outweighs that
	// the patch is not known; a warning does not.
	if len(i.Rules) > 0 {
		switch worst := i.Rules[0].Severity; {
		case worst == pki.SeverityError, worst == pki.SeverityWarning && i.Verdict == verdictOK:
			i.Verdict = string(worst)
		}
	}
	return i
}

func (r *versionReport) failure() error {
	if len(r.Items) == 0 {
		return found(errors.New("no istiod and no proxy was found"), "an audit of nothing proves nothing: is this the right cluster?")
	}
	var bad []versionItem
	for _, i := range r.Items {
		if i.Verdict == string(pki.SeverityError) {
			bad = append(bad, i)
		}
	}
	if len(bad) == 0 {
		return nil
	}
	first := fmt.Sprintf("%s/%s runs %s: %s", bad[0].Namespace, bad[0].Name, bad[0].Version, bad[0].Rules[0].Message)
	if more := len(bad) - 1; more > 0 {
		first += fmt.Sprintf("; %d more have known faults", more)
	}
	return found(errors.New(first), bad[0].Rules[0].Hint)
}

func (r *versionReport) rows(wide bool) [][]string {
	header := []string{"NAMESPACE", "NAME", "KIND", "RELEASE", "VERDICT", "RULES", "FROM"}
	if wide {
		header = append(header, "IMAGE", "WHY")
	}
	rows := [][]string{header}
	for _, i := range r.Items {
		var ids, why []string
		for _, rule := range i.Rules {
			if rule.Severity == pki.SeverityInfo && !wide {
				continue
			}
			ids, why = append(ids, rule.ID), append(why, rule.Message)
		}
		for _, id := range i.Possible {
			ids = append(ids, id+"?")
		}
		version := i.Version
		if i.AtLeast {
			version = ">= " + version
		}
		kind := cmp.Or(i.ProxyKind, string(i.Subject))
		if i.Citadel {
			kind = "citadel"
		}
		row := []string{i.Namespace, i.Name, kind, version, i.Verdict, strings.Join(ids, ","), i.From}
		if wide {
			row = append(row, i.Image, strings.Join(why, "; "))
		}
		rows = append(rows, row)
	}
	return append(rows, []string{"verdict: " + r.Summary})
}

func (r *versionReport) names() []string {
	var all []string
	for _, i := range r.Items {
		all = append(all, "pod/"+i.Name)
	}
	return all
}
