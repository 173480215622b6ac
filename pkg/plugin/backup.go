package plugin

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/pki"
	"github.com/meshca/kubectl-meshca/pkg/rotation"
	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"
)

const backupExample = `  # seal a copy of the mesh's CA secrets, and try at once that it opens
  kubectl meshca backup --seal-to age1... --identity key.txt --sealed-file ca.age

  # sealed with a passphrase, which is asked for
  kubectl meshca backup --seal-to passphrase --sealed-file ca.age`

func newBackupCommand(c *cluster, streams genericiooptions.IOStreams) *cobra.Command {
	var flags meshFlags
	var seal sealFlags
	var output string
	cmd := &cobra.Command{
		Use:   "backup",
		Short: "Seal a copy of the mesh's CA secrets into a file",
		Long: "Reads cacerts, istio-ca-secret and meshca-staged of istiod's namespaces, with type and\n" +
			"labels, and writes them sealed (age: a recipient or a passphrase) into a new file for\n" +
			"its owner alone. The keys in it are nowhere in clear. What cannot be read fails the\n" +
			"whole: half a copy looks like a whole one. 'restore' puts a secret back.\n\n" +
			"Exit codes: 0 written, 2 there is no CA secret, or not acknowledged, 1 it could not be\n" +
			"done, 64 bad usage.",
		Example: backupExample,
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := errors.Join(flags.validate(), validOutput(output), seal.validateSeal()); err != nil {
				return err
			}
			if len(seal.sealTo) == 0 {
				return usage(errors.New("--seal-to and --sealed-file are needed: the keys are never written in clear"), "make a recipient with 'age-keygen -o key.txt', or use --seal-to passphrase")
			}
			where, err := seal.sealing(cmd.Context(), &input{stdin: streams.In}, streams)
			if err != nil {
				return err
			}
			if err := seal.acknowledge(cmd.Context(), where, streams); err != nil {
				return err
			}
			report, err := backup(cmd.Context(), c, flags, where)
			if err != nil {
				return err
			}
			return printResult(streams.Out, output, report)
		},
	}
	flags.addFlags(cmd.Flags())
	seal.addSealFlags(cmd, "the copy")
	seal.addTrialFlag(cmd)
	outputFlag(cmd, &output)
	return cmd
}

func backup(ctx context.Context, c *cluster, flags meshFlags, where *sealing) (*backupReport, error) {
	observer, err := flags.observer(c, false)
	if err != nil {
		return nil, err
	}
	s, err := observer.planes(ctx)
	if err != nil {
		return nil, err
	}
	home := namespacesOf(s)
	if len(home) == 0 && flags.istioNamespace != "" {
		home = []string{flags.istioNamespace} // its istiod is gone, its CA need not be
	}
	if len(home) == 0 {
		return nil, found(errors.New("no istiod was found"), "name its namespace with --istio-namespace")
	}
	secrets, err := rotation.CopySecrets(ctx, observer.collector.Kube, home...)
	if err != nil {
		return nil, explain(err)
	}
	if len(secrets) == 0 {
		return nil, found(fmt.Errorf("there is no CA secret in %s", strings.Join(home, ", ")), "'kubectl meshca check' says what the mesh signs with")
	}
	b := rotation.Backup{TakenAt: s.TakenAt, Cluster: s.Cluster, Secrets: secrets}
	raw, err := b.Marshal()
	if err != nil {
		return nil, failed(err, "")
	}
	if err := pki.WriteSealed(where.file, raw, where.recipients, where.trial); err != nil {
		return nil, failed(err, "")
	}
	return newBackupReport(b, where), nil
}

// namespacesOf are those of the control planes.
func namespacesOf(s *mesh.Snapshot) []string {
	home := map[string]bool{}
	for _, plane := range s.ControlPlanes {
		home[plane.Namespace] = true
	}
	return slices.Sorted(maps.Keys(home))
}

// backupReport is the result of "backup": what is in the file, without any key.
type backupReport struct {
	APIVersion string       `json:"apiVersion"`
	Kind       string       `json:"kind"`
	TakenAt    time.Time    `json:"takenAt"`
	File       string       `json:"file"`
	Opened     bool         `json:"opened"` // it was opened again at once
	Items      []backupItem `json:"items"`
}

type backupItem struct {
	Namespace string            `json:"namespace"`
	Name      string            `json:"name"`
	Type      string            `json:"type"`
	Labels    map[string]string `json:"labels,omitempty"`
	Entries   []string          `json:"entries"`
	// Signer and Roots are what an istiod would sign with and hand out.
	Signer *certBrief  `json:"signer,omitempty"`
	Roots  []certBrief `json:"roots,omitempty"`
}

func newBackupReport(b rotation.Backup, where *sealing) *backupReport {
	r := &backupReport{APIVersion: mesh.APIVersion, Kind: "BackupReport", TakenAt: b.TakenAt, File: where.file, Opened: len(where.trial) > 0, Items: []backupItem{}}
	for _, s := range b.Secrets {
		r.Items = append(r.Items, newBackupItem(s))
	}
	return r
}

func newBackupItem(s rotation.SecretCopy) backupItem {
	item := backupItem{Namespace: s.Namespace, Name: s.Name, Type: string(s.Type), Labels: s.Labels, Entries: slices.Sorted(maps.Keys(s.Data))}
	if source, ok := s.Source(); ok {
		if ca := source.Authority(); ca != nil {
			signer := brief(ca.Cert)
			item.Signer = &signer
		}
		for _, root := range source.Root.Certs {
			item.Roots = append(item.Roots, brief(root))
		}
	}
	return item
}

func (r *backupReport) rows(wide bool) [][]string {
	rows := [][]string{{"SECRET", "TYPE", "ENTRIES", "SIGNER", "ROOTS"}}
	if wide {
		rows[0] = append(rows[0], "LABELS")
	}
	for _, item := range r.Items {
		var signer string
		var roots []string
		if item.Signer != nil {
			signer = item.Signer.Subject + " " + item.Signer.Fingerprint.Short()
		}
		for _, root := range item.Roots {
			roots = append(roots, root.Subject+" "+root.Fingerprint.Short())
		}
		row := []string{item.Namespace + "/" + item.Name, item.Type, fmt.Sprint(len(item.Entries)), signer, strings.Join(roots, ", ")}
		if wide {
			var labels []string
			for _, name := range slices.Sorted(maps.Keys(item.Labels)) {
				labels = append(labels, name+"="+item.Labels[name])
			}
			row = append(row, strings.Join(labels, ","))
		}
		rows = append(rows, row)
	}
	opened := "it was not opened again"
	if r.Opened {
		opened = "opened again at once"
	}
	return append(rows, []string{"sealed: " + r.File + " (" + opened + ")"})
}

func (r *backupReport) names() []string { return []string{r.File} }
