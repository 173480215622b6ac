package plugin

import (
	"cmp"
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
	Items      []versionItem `json:"items"`
}

type versionItem struct {
	Namespace string        `json:"namespace"`
	Name      string        `json:"name"`
	Subject   check.Subject `json:"subject"`
	ProxyKind string        `json:"proxyKind,omitempty"`
	Version   string        `json:"version,omitempty"`
	// AtLeast is true where only the proxy's Envoy says how old it can be.
	AtLeast bool   `json:"atLeast,omitempty"`
	From    string `json:"from,omitempty"`
	Image   string `json:"image,omitempty"`
	// Verdict is ok, the worst severity of Rules, or unknown.
	Verdict string              `json:"verdict"`
	Rules   []check.VersionRule `json:"rules,omitempty"`
}

func newVersionsCommand(c *cluster, streams genericiooptions.IOStreams) *cobra.Command {
	var source sourceFlags
	var output, selector string
	var all bool
	cmd := &cobra.Command{
		Use:     "versions",
		Aliases: []string{"check-version"},
		Short:   "Audit the release of every istiod, proxy and ztunnel",
		Long: "Lists the release of each, by image tag, by its own word, or by its Envoy, with what is\n" +
			"known against it. -n and -l filter the rows, never the verdict.\n\n" +
			"Exit codes: 0 nothing against any, 2 a release with a known fault, 1 it could not be\n" +
			"done, 64 bad usage.",
		Example: versionsExample,
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := source.validate(); err != nil {
				return err
			}
			if err := validOutput(output); err != nil {
				return err
			}
			s, err := source.snapshot(cmd.Context(), c, streams)
			if err != nil {
				return err
			}
			for _, g := range s.Gaps {
				if g.Resource == "pods" {
					return failed(fmt.Errorf("%s: %s", g.Part, g.Error), "without a complete list there is no audit")
				}
			}
			show, err := c.filter(selector, all)
			if err != nil {
				return err
			}
			report := newVersionReport(s)
			verdict := report.failure()
			report.Items = slices.DeleteFunc(report.Items, func(i versionItem) bool { return !show(i.Namespace, labelsOf(s, i)) })
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

func labelsOf(s *mesh.Snapshot, i versionItem) map[string]string {
	for _, p := range s.Proxies {
		if p.Namespace == i.Namespace && p.Name == i.Name {
			return p.Labels
		}
	}
	return nil
}

func newVersionReport(s *mesh.Snapshot) versionReport {
	r := versionReport{APIVersion: mesh.APIVersion, Kind: "VersionList", Items: []versionItem{}}
	for _, plane := range s.ControlPlanes {
		for _, replica := range plane.Replicas {
			r.Items = append(r.Items, judgeVersion(versionItem{Namespace: plane.Namespace, Name: replica.Pod, Subject: check.Istiod, Version: cmp.Or(replica.Version, plane.Version), From: "image tag", Image: plane.Image}))
		}
	}
	for _, p := range s.Proxies {
		item := versionItem{Namespace: p.Namespace, Name: p.Name, Subject: check.Sidecar, ProxyKind: string(p.Kind), Image: p.Image, From: p.VersionFrom}
		if p.Kind == mesh.Ztunnel {
			item.Subject = check.Ztunnel
		}
		if item.Version, item.AtLeast = p.ReleaseOf(); item.From == "" && item.Version != "" {
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
	return r
}

func judgeVersion(i versionItem) versionItem {
	if _, ok := mesh.ParseRelease(i.Version); !ok {
		i.Verdict, i.From, i.Version = "unknown", "", ""
		return i
	}
	i.Verdict = "ok"
	if i.AtLeast {
		// Whichever it is: is anything known against one as new as this?
		if len(check.MayMatch(i.Subject, i.Version)) > 0 {
			i.Verdict = "unknown"
		}
		return i
	}
	i.Rules = check.Matches(i.Subject, i.Version)
	for _, rule := range i.Rules {
		if rule.Severity == pki.SeverityError || rule.Severity == pki.SeverityWarning && i.Verdict != string(pki.SeverityError) {
			i.Verdict = string(rule.Severity)
		}
	}
	return i
}

func (r versionReport) failure() error {
	for _, i := range r.Items {
		if i.Verdict == string(pki.SeverityError) {
			return found(fmt.Errorf("%s/%s runs %s: %s", i.Namespace, i.Name, i.Version, i.Rules[0].Message), i.Rules[0].Hint)
		}
	}
	return nil
}

func (r versionReport) rows(wide bool) [][]string {
	header := []string{"NAMESPACE", "NAME", "KIND", "RELEASE", "VERDICT", "RULES"}
	if wide {
		header = append(header, "FROM", "IMAGE", "WHY")
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
		version := i.Version
		if i.AtLeast {
			version = ">= " + version
		}
		row := []string{i.Namespace, i.Name, cmp.Or(i.ProxyKind, string(i.Subject)), version, i.Verdict, strings.Join(ids, ",")}
		if wide {
			row = append(row, i.From, i.Image, strings.Join(why, "; "))
		}
		rows = append(rows, row)
	}
	return rows
}

func (r versionReport) names() []string {
	var all []string
	for _, i := range r.Items {
		all = append(all, "pod/"+i.Name)
	}
	return all
}
