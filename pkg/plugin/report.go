package plugin

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/pki"
	"github.com/meshca/kubectl-meshca/pkg/report"
	"github.com/meshca/kubectl-meshca/pkg/rotation"
	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/kubernetes"
)

const reportExample = `  # the evidence of the last rotation, and the mesh as it is now, for a ticket
  kubectl meshca report

  # one file for an audit, with the strongest proof of every istiod
  kubectl meshca report --out rotation.html --csr-proof

  # the same of a mesh that was saved before; what only a journal knows is missing, and said so
  kubectl meshca report --from-snapshot mesh.json -o json`

// reportFormats are those of a report, by the endings of their files.
func reportFormats() []string { return []string{"md", "html", "json"} }

type reportOptions struct {
	sourceFlags
	format   string
	file     string
	force    bool
	rotation string
}

func newReportCommand(c *cluster, streams genericiooptions.IOStreams) *cobra.Command {
	o := reportOptions{sourceFlags: sourceFlags{clients: true}}
	cmd := &cobra.Command{
		Use:   "report",
		Short: "Write down the evidence of a rotation: who, when, which gates, what each proxy proves, what is not proven",
		Long: "Puts a rotation's journal (who, when, fingerprints, gates, exceptions, restarts) beside a\n" +
			"fresh look at the mesh (serial, Not Before and roots of every live proxy), and names all\n" +
			"that is not proven. HTML is one file that needs no other and runs no script. It holds no\n" +
			"key.\n\n" +
			"Exit codes, those of verify: 0 the mesh is proven, 2 it is not (the report is written all\n" +
			"the same), 1 it could not be done, 64 bad usage.",
		Example: reportExample,
		Args:    noArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return o.run(cmd.Context(), c, streams) },
	}
	o.addFlags(cmd.Flags())
	cmd.Flags().StringVarP(&o.format, "output", "o", "", "one of "+strings.Join(reportFormats(), ", ")+" (default: by the ending of --out, else md)")
	cmd.Flags().StringVar(&o.file, "out", "", "write it to this file instead of stdout")
	formerly(cmd.Flags(), "format", "", "output")
	formerly(cmd.Flags(), "output-file", "", "out")
	cmd.Flags().BoolVar(&o.force, "force", false, "write over a file that is there")
	cmd.Flags().StringVar(&o.rotation, "rotation", "", "the rotation to report, by its ID (default: the one that is kept, else the last; 'status --all' lists them)")
	completions(cmd, "output", reportFormats()...)
	return cmd
}

func (o *reportOptions) validate() error {
	if err := o.sourceFlags.validate(); err != nil {
		return err
	}
	if o.format == "" {
		o.format = reportFormats()[0]
		if ending := strings.TrimPrefix(filepath.Ext(o.file), "."); slices.Contains(reportFormats(), ending) {
			o.format = ending
		}
	}
	switch {
	case !slices.Contains(reportFormats(), o.format):
		return usage(fmt.Errorf("unknown output format %q", o.format), "use one of "+strings.Join(reportFormats(), ", "))
	case o.force && o.file == "":
		return usage(errors.New("--force without --out"), "it is for a file that is there")
	case o.from != "" && o.rotation != "":
		return usage(errors.New("--from-snapshot and --rotation exclude each other"), "a snapshot holds no journal")
	case o.file != "" && !o.force && exists(o.file):
		return failed(fmt.Errorf("--out %s is there already", o.file), "name another, or give --force")
	}
	return nil
}

func (o *reportOptions) run(ctx context.Context, c *cluster, streams genericiooptions.IOStreams) error {
	if err := o.validate(); err != nil {
		return err
	}
	r, verdict, err := o.report(ctx, c, streams)
	if err != nil {
		return err
	}
	var text bytes.Buffer
	if err := writeReport(&text, o.format, r); err != nil {
		return failed(err, "")
	}
	if o.file == "" {
		if _, err := streams.Out.Write(text.Bytes()); err != nil {
			return failed(fmt.Errorf("writing the report: %w", err), "")
		}
		return verdict
	}
	if err := o.save(text.Bytes()); err != nil {
		return failed(fmt.Errorf("writing the report: %w", err), "")
	}
	fmt.Fprintln(streams.ErrOut, plain(fmt.Sprintf("the report is written: %s. %s", o.file, r.Verdict)))
	return verdict
}

// report reads the journal, and the mesh.
func (o *reportOptions) report(ctx context.Context, c *cluster, streams genericiooptions.IOStreams) (*report.Report, error, error) {
	s, err := o.snapshot(ctx, c, streams)
	if err != nil {
		return nil, nil, err
	}
	var record journalOf
	source := "the cluster"
	if o.from != "" {
		source = "the snapshot " + o.from
		record.missing = "a snapshot holds no journal: who rotated, when, and over which gates is not told here"
	} else {
		kube, _, err := c.connect()
		if err != nil {
			return nil, nil, err
		}
		if record, err = readRecord(ctx, kube, s, o.rotation); err != nil {
			return nil, nil, err
		}
	}
	return newReport(s, record, source, o.csrProof)
}

// journalOf is the record of one rotation, or why there is none.
type journalOf struct {
	journal *rotation.Journal
	missing string
}

// readRecord finds the record of a rotation by its ID, else of the one whose CAs are
// kept, else the last.
func readRecord(ctx context.Context, kube kubernetes.Interface, s *mesh.Snapshot, id string) (journalOf, error) {
	var all []rotation.Journal
	var failures error
	for _, namespace := range namespacesOf(s) {
		journals, err := rotation.Journals(ctx, kube, namespace)
		failures = errors.Join(failures, err)
		all = append(all, journals...)
	}
	if cause := context.Cause(ctx); cause != nil {
		return journalOf{}, cause
	}
	named := func(id string) *rotation.Journal {
		if i := slices.IndexFunc(all, func(j rotation.Journal) bool { return j.ID == id }); i >= 0 {
			return &all[i]
		}
		return nil
	}
	var record journalOf
	switch {
	case id != "":
		if record.journal = named(id); record.journal == nil {
			return record, failed(errors.Join(fmt.Errorf("no record of rotation %q was found", id), failures), "'kubectl meshca status --all' lists them")
		}
	case len(all) > 0:
		record.journal = &all[len(all)-1]
		for _, namespace := range namespacesOf(s) {
			// Who may not read the Secret is told of the last one.
			if kept, err := rotation.ReadStaged(ctx, kube, namespace); err == nil && kept != nil && named(kept.ID) != nil {
				record.journal = named(kept.ID)
			}
		}
	}
	if failures != nil {
		record.missing = failures.Error()
	}
	return record, nil
}

// newReport is pure. Its error is verify's verdict, and comes beside the report.
func newReport(s *mesh.Snapshot, record journalOf, source string, csrProof bool) (*report.Report, error, error) {
	v, err := newVerifyReport(s, wantedRoots{}, csrProof)
	if err != nil {
		return nil, nil, err
	}
	r := &report.Report{
		APIVersion: mesh.APIVersion, Kind: "RotationReport", At: s.TakenAt, Source: source, Cluster: s.Cluster.Context, Namespace: s.ControlPlanes[0].Namespace,
		Rotation: record.journal, Gates: report.GatesOf(record.journal), Roots: []report.Certificate{}, Status: v.Status, Classes: v.Classes,
		Pairs: len(v.pairs), Refused: v.Refused, Proxies: []report.Proxy{}, NotProven: []report.Gap{},
	}
	if r.Cluster == "" {
		r.Cluster = s.Cluster.Server
	}
	for _, root := range v.Roots {
		r.Roots = append(r.Roots, report.Certificate{Subject: root.Subject, Fingerprint: root.Fingerprint, NotBefore: root.NotBefore, NotAfter: root.NotAfter})
	}
	wrong := map[string]string{}
	for _, b := range v.Items {
		if b.Kind == "proxy" {
			wrong[b.Object] = b.Why
		}
		r.NotProven = append(r.NotProven, report.Gap{Object: b.Kind + " " + b.Object, Why: b.Why, Unknown: b.Unknown})
	}
	for _, i := range newEnvoyReport(s.Proxies, pki.Bundle{}, s.TakenAt).Items {
		r.Proxies = append(r.Proxies, proxyOf(i, wrong))
	}
	r.Verified, r.Verdict = v.Verified, fmt.Sprintf("not proven: %d in the way, %d of %d pairs of classes would refuse each other", len(v.Items), len(v.Refused), len(v.pairs))
	if v.Verified {
		r.Verdict = v.proven()
	}
	r.NotProven = append(r.NotProven, notProven(r, v, record, csrProof)...)
	return r, v.failure(false), nil
}

// proxyOf is the proof of one proxy; wrong says who is in the way of the verdict.
func proxyOf(i envoyItem, wrong map[string]string) report.Proxy {
	ref := i.Namespace + "/" + i.Name
	why, bad := wrong[ref]
	p := report.Proxy{
		Namespace: i.Namespace, Name: i.Name, Kind: string(i.ProxyKind), Version: i.Version, Proven: !bad && i.State == stateRead, Why: why,
		Evidence: string(i.Evidence), Confirmed: i.LeafConfirmed, SPIFFE: i.SPIFFE,
	}
	if !p.Proven && p.Why == "" {
		p.Why = strings.TrimPrefix(string(i.State)+": "+i.Reason, string(stateRead)+": ")
	}
	if i.Leaf != nil {
		p.Serial, p.Issuer, p.NotBefore, p.NotAfter = i.Leaf.Serial, i.Leaf.Issuer, i.Leaf.NotBefore, i.Leaf.NotAfter
	}
	for _, root := range i.Roots {
		p.Roots = append(p.Roots, rotation.Brief{Fingerprint: root.Fingerprint, Subject: root.Subject, NotAfter: root.NotAfter})
	}
	return p
}

// notProven is what the verdict does not vouch for, though nothing in it is wrong.
func notProven(r *report.Report, v *verifyReport, record journalOf, csrProof bool) []report.Gap {
	var all []report.Gap
	gap := func(object, why string) { all = append(all, report.Gap{Object: object, Why: why, Unknown: true}) }
	for _, pair := range v.Refused {
		all = append(all, report.Gap{Object: fmt.Sprintf("class %s calls class %s", pair.Client, pair.Server), Why: fmt.Sprintf("the %s says: %s", pair.By, pair.Answer.Reason), Unknown: false})
	}
	for _, u := range v.NotSeen {
		gap(u.Part, u.Error+"; it would tell "+u.Adds)
	}
	if record.missing != "" {
		gap("journal", record.missing)
	}
	if !csrProof {
		gap("istiods", "no istiod was asked to sign: the chain that each serves is the evidence; --csr-proof asks")
	}
	if j := record.journal; j != nil {
		all = append(all, against(r, j)...)
		for _, x := range j.Exceptions {
			gap(x.Object, fmt.Sprintf("in phase %s it was accepted by name by %s: %s", x.Phase, x.By, x.Reason))
		}
	}
	return all
}

// against holds what a record says of its end against the roots of the mesh now.
func against(r *report.Report, j *rotation.Journal) []report.Gap {
	has := func(b rotation.Brief) bool {
		return slices.ContainsFunc(r.Roots, func(c report.Certificate) bool { return c.Fingerprint == b.Fingerprint })
	}
	object := "rotation " + j.ID
	switch {
	case j.Phase == rotation.Done && !has(j.NewRoot):
		return []report.Gap{{Object: object, Why: "its record says done, and its new root is not among the mesh's own roots now"}}
	case j.Phase == rotation.Done && has(j.OldRoot) && j.OldRoot.Fingerprint != j.NewRoot.Fingerprint:
		return []report.Gap{{Object: object, Why: "its record says done, and the old root is among the mesh's own roots again"}}
	case j.Phase == rotation.RolledBack && !has(j.OldRoot):
		return []report.Gap{{Object: object, Why: "its record says rolled back, and its old root is not among the mesh's own roots now"}}
	case j.Phase != rotation.Done && j.Phase != rotation.RolledBack:
		return []report.Gap{{Object: object, Why: fmt.Sprintf("it is not finished: phase %s", j.Phase)}}
	}
	return nil
}

func writeReport(w io.Writer, format string, r *report.Report) error {
	switch format {
	case "html":
		return r.HTML(w)
	case "json":
		return writeJSON(w, r, "  ")
	}
	return r.Markdown(w)
}

// save writes the file as a whole or not at all: one that is there stands until the
// new one does.
func (o *reportOptions) save(text []byte) error {
	if !o.force {
		made := &created{}
		if err := made.file(o.file, text, 0o644); err != nil {
			return errors.Join(err, made.undo())
		}
		return nil
	}
	made, err := os.CreateTemp(filepath.Dir(o.file), ".meshca-report-*")
	if err != nil {
		return err
	}
	_, err = made.Write(text)
	if err = errors.Join(err, made.Chmod(0o644), made.Sync(), made.Close()); err == nil {
		err = os.Rename(made.Name(), o.file)
	}
	if err != nil {
		return errors.Join(err, os.Remove(made.Name()))
	}
	return nil
}
