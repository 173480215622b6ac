package plugin

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"filippo.io/age"
	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/pki"
	"github.com/meshca/kubectl-meshca/pkg/rotation"
	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/kubernetes"
)

const restoreExample = `  # what is in the copy, and what differs from the cluster
  kubectl meshca restore -f ca.age --identity key.txt --dry-run=client

  # put one secret back; its name is asked for
  kubectl meshca restore -f ca.age --identity key.txt --secret istio-system/cacerts

  # in a script, where the mesh does not trust that root any more: a swap in one step
  kubectl meshca restore -f ca.age --passphrase-file word.txt \
    --secret istio-system/cacerts --confirm istio-system/cacerts --force istio-system/cacerts`

type restoreOptions struct {
	meshFlags
	opener
	file    string
	secret  string
	confirm string
	force   string
	accept  []string
	dryRun  string
	output  string
}

func newRestoreCommand(c *cluster, streams genericiooptions.IOStreams) *cobra.Command {
	var o restoreOptions
	cmd := &cobra.Command{
		Use:   "restore",
		Short: "Write a CA secret back from a sealed copy",
		Long: "Opens a copy of 'backup', or the one that 'rotate' seals before its first change, shows\n" +
			"what differs by fingerprints, and writes one secret back in place. It is refused while a\n" +
			"rotation runs, for a secret of another type, and where proxies would refuse each other:\n" +
			"where the mesh does not trust that root now, one write is a swap that fails requests,\n" +
			"and only --force with the secret's name does it. A rotation is the way without. What a\n" +
			"virtual machine holds cannot be read: --accept names each that was looked at, with the\n" +
			"reason, which an Event keeps. How long its certificates live does not tell what it trusts\n" +
			"now, for it may have been off.\n\n" +
			"Exit codes: 0 written, or nothing differs, 2 refused or not confirmed, 1 it could not be\n" +
			"done, 64 bad usage.",
		Example: restoreExample,
		Args:    noArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return o.run(cmd.Context(), c, streams) },
	}
	o.meshFlags.addFlags(cmd.Flags())
	o.opener.addFlags(cmd.Flags())
	flags := cmd.Flags()
	flags.StringVarP(&o.file, "filename", "f", "", "the sealed copy")
	formerly(flags, "sealed-file", "", "filename")
	flags.StringVar(&o.secret, "secret", "", "namespace/name of the secret to write back (default: the only one that differs)")
	flags.StringVar(&o.confirm, "confirm", "", "namespace/name of the secret, instead of typing it")
	flags.StringVar(&o.force, "force", "", "namespace/name of the secret: write it even where proxies will refuse each other")
	flags.StringArrayVar(&o.accept, "accept", nil, "namespace/name=reason: a virtual machine that was looked at where this cannot look")
	dryRunFlag(cmd, &o.dryRun, "none; client: show what differs; server: send it to the API server, which keeps nothing")
	outputFlag(cmd, &o.output)
	return cmd
}

func (o *restoreOptions) validate() error {
	if err := errors.Join(o.meshFlags.validate(), validOutput(o.output), validDryRun(o.dryRun)); err != nil {
		return err
	}
	if o.file == "" {
		return usage(errors.New("--filename is missing"), "name the copy that 'kubectl meshca backup' has written")
	}
	for _, flag := range []struct{ name, value string }{{"--secret", o.secret}, {"--confirm", o.confirm}, {"--force", o.force}} {
		if flag.value != "" && strings.Count(flag.value, "/") != 1 {
			return usage(fmt.Errorf("%s %q", flag.name, flag.value), "write namespace/name")
		}
	}
	_, err := acceptances(o.accept)
	return err
}

func (o *restoreOptions) run(ctx context.Context, c *cluster, streams genericiooptions.IOStreams) error {
	if err := o.validate(); err != nil {
		return err
	}
	backup, err := o.open(ctx, streams)
	if err != nil {
		return err
	}
	observer, err := o.observer(c, false)
	if err != nil {
		return err
	}
	s, err := observer.whole(ctx)
	if err != nil {
		return err
	}
	report, err := newRestoreReport(ctx, observer.collector.Kube, s, backup)
	if err != nil {
		return explain(err)
	}
	item, err := o.pick(report)
	if err == nil && item != nil && o.dryRun != "client" {
		err = o.write(ctx, observer, streams, report, item)
	}
	report.Next, report.Warning = c.carry(report.Next), c.carry(report.Warning)
	if printed := printResult(streams.Out, o.output, report); printed != nil {
		return errors.Join(err, printed)
	}
	return err
}

// open unseals the copy.
func (o *restoreOptions) open(ctx context.Context, streams genericiooptions.IOStreams) (*rotation.Backup, error) {
	in := &input{stdin: streams.In}
	sealed, err := in.read("--filename", o.file)
	if err != nil {
		return nil, err
	}
	if !pki.Sealed(sealed) {
		return nil, failed(fmt.Errorf("--filename %s: it is not sealed", o.file), "name the copy that 'kubectl meshca backup' has written")
	}
	identities, err := o.identities(in)
	if err != nil {
		return nil, err
	}
	if len(identities) == 0 {
		if !isTerminal(streams.In) {
			return nil, usage(fmt.Errorf("%s is sealed", o.file), "give --identity FILE, or --passphrase-file FILE")
		}
		word, err := ask(ctx, streams, "opening "+o.file, "Passphrase: ")
		if err != nil {
			return nil, err
		}
		identity, err := pki.PassphraseIdentity(word)
		if err != nil {
			return nil, failed(err, "")
		}
		identities = []age.Identity{identity}
	}
	raw, err := pki.Unseal(strings.NewReader(string(sealed)), identities...)
	if err != nil {
		return nil, failed(fmt.Errorf("opening %s: %w", o.file, err), "is this the identity, or the passphrase, that it was sealed to?")
	}
	backup, err := rotation.ParseBackup(raw)
	if err != nil {
		return nil, failed(fmt.Errorf("--filename %s: %w", o.file, err), "'ca new' seals a root's key alone, which no secret holds")
	}
	return backup, nil
}

// pick is the secret that is meant; nil where nothing differs.
func (o *restoreOptions) pick(r *restoreReport) (*restoreItem, error) {
	if o.secret != "" {
		i := slices.IndexFunc(r.Items, func(item restoreItem) bool { return item.ref() == o.secret })
		if i < 0 {
			return nil, usage(fmt.Errorf("--secret %s is not in the copy", o.secret), "it holds "+strings.Join(r.names(), ", "))
		}
		if r.Items[i].Same {
			return nil, nil
		}
		return &r.Items[i], nil
	}
	var differ []*restoreItem
	for i := range r.Items {
		// The staged Secret belongs to a rotation, which makes it by itself.
		if item := &r.Items[i]; !item.Same && !item.staged() {
			differ = append(differ, item)
		}
	}
	switch {
	case len(differ) == 0:
		return nil, nil
	case len(differ) > 1 && o.dryRun != "client":
		return nil, usage(fmt.Errorf("%d secrets differ", len(differ)), "name one with --secret: one write at a time can be judged")
	}
	return differ[0], nil
}

// write judges what the write would do to the mesh, has it confirmed, and does it.
func (o *restoreOptions) write(ctx context.Context, observer *observer, streams genericiooptions.IOStreams, r *restoreReport, item *restoreItem) error {
	kube, ref := observer.collector.Kube, item.ref()
	held, err := rotation.ReadLease(ctx, kube, item.Namespace, clusterNow(observer.first))
	switch {
	case err != nil:
		return explain(err)
	case held != nil && held.Alive:
		return found(&rotation.HeldError{Lease: item.Namespace + "/meshca-rotation", State: *held}, "wait until it ends, or stop it: 'kubectl meshca status' shows it")
	}
	switch journal, err := rotation.ReadStaged(ctx, kube, item.Namespace); {
	case err != nil:
		return explain(err)
	case journal == nil:
	case item.staged() && journal.ID != item.copy.Rotation():
		return found(fmt.Errorf("refused: secret %s keeps both CAs of rotation %s, and the copy is another rotation's", ref, journal.ID),
			"end that one first ('kubectl meshca status' says how), then 'kubectl meshca retire': it is its way back")
	case !journal.Over():
		fmt.Fprintf(streams.ErrOut, "warning: rotation %s is unfinished (phase %s): it goes on only from what it has written\n", plain(journal.ID), plain(string(journal.Phase)))
	}
	accept, err := acceptances(o.accept)
	if err != nil {
		return err
	}
	risks, passed := rotation.AcceptRisks(item.Risks, accept)
	if o.dryRun == "none" && len(risks) > 0 {
		if o.force != ref {
			return refuseSwap(ref, risks)
		}
		fmt.Fprintf(streams.ErrOut, "warning: requests will fail: %s\n", plain(rotation.SwapSummary(risks)))
	}
	var unseen []string
	for _, risk := range passed {
		unseen = append(unseen, risk.Kind+" "+risk.Object+" ("+accept[risk.Object]+")")
		fmt.Fprintf(streams.ErrOut, "accepted unseen: %s: %s\n", plain(risk.String()), plain(accept[risk.Object]))
	}
	if o.dryRun == "none" {
		if err := o.confirmed(ctx, streams, item); err != nil {
			return err
		}
	}
	if err := rotation.Restore(ctx, kube, holder(), func() time.Time { return clusterNow(observer.first) }, item.copy, item.there, o.dryRun == "server"); err != nil {
		switch {
		case errors.Is(err, rotation.ErrType):
			return found(err, "a secret's type cannot be changed: its owner must replace it in a moment when no istiod starts")
		case errors.Is(err, rotation.ErrImmutable):
			return found(err, "its owner must replace it with one that can be changed")
		case apierrors.IsConflict(err), apierrors.IsAlreadyExists(err):
			return found(err, "somebody wrote it at the same moment: run the same command again, it looks anew")
		case errors.Is(err, rotation.ErrHeld): // who has begun since it was looked
			return found(err, "wait until it ends, or stop it: 'kubectl meshca status' shows it")
		}
		return outcome(err)
	}
	if item.Result = "restored"; o.dryRun == "server" {
		item.Result = "the API server would take it"
		return nil
	}
	(&rotation.Audit{Kube: kube, Holder: holder(), Warn: newEventPrinter(streams, "").event}).Restored(time.Now(), item.copy, unseen...)
	r.Next = "istiod loads a changed root by itself only with ISTIO_MULTIROOT_MESH, else at its next start: 'kubectl meshca verify' proves who has followed"
	return nil
}

// refuseSwap refuses a write after which parts would refuse each other. Where those are
// virtual machines alone, somebody may know what cannot be seen from here.
func refuseSwap(ref string, risks []rotation.Blocker) error {
	const rotate = "rotate to that CA with 'kubectl meshca rotate', which fails no request"
	if first, others := risks[0], slices.ContainsFunc(risks, func(b rotation.Blocker) bool { return b.Kind != "vm" }); !others {
		return found(fmt.Errorf("refused: secret %s: %s may be cut off: %s", ref, counted(len(risks), "virtual machine"), rotation.SwapSummary(risks)),
			"look on each (its root-cert.pem and cert-chain.pem), then --accept '"+first.Object+"=REASON' for it; or "+rotate)
	}
	return found(fmt.Errorf("refused: secret %s: %s would be refused by others or refuse them: %s", ref, counted(len(risks), "part"), rotation.SwapSummary(risks)),
		rotate+"; or --force "+ref)
}

func (o *restoreOptions) confirmed(ctx context.Context, streams genericiooptions.IOStreams, item *restoreItem) error {
	ref, typed := item.ref(), o.confirm
	if typed == "" && isTerminal(streams.In) {
		if err := printRows(streams.ErrOut, item.rows()); err != nil {
			return failed(err, "")
		}
		fmt.Fprintf(streams.ErrOut, "This changes what the mesh signs with.\nType the secret's name, %s: ", plain(ref))
		var err error
		if typed, err = answer(ctx, streams); err != nil {
			typed = ""
		}
	}
	if typed != ref {
		return found(fmt.Errorf("not confirmed: nothing was changed (the secret is %s)", ref), "type it, or give it with --confirm")
	}
	return nil
}

// newRestoreReport compares every secret of a copy with the cluster.
func newRestoreReport(ctx context.Context, kube kubernetes.Interface, s *mesh.Snapshot, b *rotation.Backup) (*restoreReport, error) {
	r := &restoreReport{APIVersion: mesh.APIVersion, Kind: "RestoreReport", TakenAt: b.TakenAt, Items: []restoreItem{}}
	if here, there := s.Cluster.UID, b.Cluster.UID; here != "" && there != "" && here != there {
		r.Warning = "the copy is of another cluster: " + b.Cluster.Context + " " + b.Cluster.Server
	}
	for _, c := range b.Secrets {
		there, err := kube.CoreV1().Secrets(c.Namespace).Get(ctx, c.Name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			there = nil
		} else if err != nil {
			return nil, fmt.Errorf("reading secret %s: %w", c.Ref(), err)
		}
		item := compare(c, there)
		if !item.Same {
			item.Risks = rotation.SwapRisks(s, c)
		}
		r.Items = append(r.Items, item)
	}
	return r, nil
}

// compare is a copy beside what is there; it is pure.
func compare(c rotation.SecretCopy, there *corev1.Secret) restoreItem {
	item := restoreItem{Namespace: c.Namespace, Name: c.Name, Type: string(c.Type), Same: c.Same(there), Absent: there == nil, copy: c, there: there}
	now := rotation.SecretCopy{Namespace: c.Namespace, Name: c.Name}
	if there != nil {
		now.Type, now.Data = there.Type, there.Data
		item.TypeNow = string(there.Type)
	}
	item.Copy, item.Now = newBackupItem(c), newBackupItem(now)
	item.Entries = differences(c.Data, now.Data)
	return item
}
