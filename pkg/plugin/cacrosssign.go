package plugin

import (
	"errors"
	"fmt"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/pki"
	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"
)

const caCrossSignExample = `  # the new root, certified by the old one
  kubectl meshca ca cross-sign --root new/root-cert.pem --by old/root-cert.pem --by-key old-root-key.pem --out cross.pem

  # with the old root's key as 'ca new' sealed it, and on to the rotation
  kubectl meshca ca cross-sign --root new/root-cert.pem --by old/root-cert.pem --by-key root-key.age --identity key.txt --out cross.pem
  kubectl meshca rotate --root new/root-cert.pem --ca-cert new/ca-cert.pem --ca-key new/ca-key.pem --cross-cert cross.pem`

type caCrossSignOptions struct {
	opener
	root, by, byKey string
	out             string
}

func newCACrossSignCommand(streams genericiooptions.IOStreams) *cobra.Command {
	var o caCrossSignOptions
	cmd := &cobra.Command{
		Use:   "cross-sign",
		Short: "Certify a new root with the old one, so that who trusts the old accepts the new",
		Long: "Makes the cross certificate of a new root: its name, key and key identifier, signed by\n" +
			"the old root, valid until the first of both ends. Who trusts only the old root then\n" +
			"accepts chains of the new one. It is printed as PEM, or written to a new file. Of\n" +
			"several certificates in --by, the one that --by-key belongs to signs; of several of one\n" +
			"key, the one that is valid the longest.\n\n" +
			"Exit codes: 0 made, 2 refused, 1 it could not be done, 64 bad usage.",
		Example: caCrossSignExample,
		Args:    noArgs,
		RunE:    func(*cobra.Command, []string) error { return o.run(streams) },
	}
	flags := cmd.Flags()
	flags.StringVar(&o.root, "root", "", "PEM file of the new root")
	flags.StringVar(&o.by, "by", "", "PEM file of the old root")
	flags.StringVar(&o.byKey, "by-key", "", "PEM file of the old root's key, in clear or sealed")
	flags.StringVar(&o.out, "out", "", "new file that the cross certificate is written to (default: standard output)")
	o.addFlags(flags)
	return cmd
}

func (o *caCrossSignOptions) run(streams genericiooptions.IOStreams) error {
	if o.root == "" || o.by == "" || o.byKey == "" {
		return usage(errors.New("--root, --by and --by-key are needed"), "the new root is signed by the old one with the old one's key")
	}
	if o.out != "" && exists(o.out) {
		return failed(fmt.Errorf("--out %s is there already", o.out), "name another: nothing is written over")
	}
	in := &input{stdin: streams.In, told: streams.ErrOut}
	root, err := in.single("--root", o.root)
	if err != nil {
		return err
	}
	old, err := in.bundle("--by", o.by)
	if err != nil {
		return err
	}
	key, err := in.key("--by-key", o.byKey, o.opener)
	if err != nil {
		return err
	}
	now := time.Now()
	signer, err := pki.Generation(old.Certs, key, now)
	if errors.Is(err, pki.ErrNotOfKey) {
		return found(fmt.Errorf("--by-key %s is the key of no certificate in --by %s", o.byKey, o.by), "'kubectl meshca ca inspect' shows which certificate a key belongs to")
	}
	if err != nil {
		return found(fmt.Errorf("--by %s: %w", o.by, err), crossHint(err))
	}
	by := &pki.Authority{Cert: signer, Key: key}
	cross, err := by.CrossSign(root, now)
	if err != nil {
		return found(err, crossHint(err))
	}
	if err := o.write(streams, cross); err != nil {
		return err
	}
	note := func(format string, args ...any) {
		fmt.Fprintln(streams.ErrOut, plain(fmt.Sprintf(format, args...)))
	}
	note("%s, certified by %s until %s (%s)", cross.Subject(), by.Cert.Subject(), stamp(cross.X509.NotAfter), cross.Fingerprint().Short())
	if x := by.Cert.X509; x.MaxPathLen == 1 {
		note("warning: the path length of %s leaves no room for an intermediate below the cross certificate: agents would refuse it", by.Cert.Subject())
	}
	if left := time.Until(cross.X509.NotAfter); left < soon {
		note("warning: the cross certificate ends in %d days: a rotation must be over by then", int(left.Hours()/24))
	}
	return nil
}

// crossHint is the way out where one root cannot vouch for another.
func crossHint(err error) string {
	switch {
	case errors.Is(err, pki.ErrOneName):
		return "give the new root a name of its own"
	case errors.Is(err, pki.ErrEnded):
		return "nobody accepts what a root vouches for that has ended: give its certificate of the same key that is still valid, or rotate by another strategy (recover, where the mesh's CA has ended)"
	}
	return "the old root must be a valid CA below which others may stand, and the new one a self-signed CA that has not expired"
}

// soon is when the end of a cross certificate is worth a word.
const soon = 60 * 24 * time.Hour

func (o *caCrossSignOptions) write(streams genericiooptions.IOStreams, cross *pki.Certificate) error {
	if o.out == "" {
		if _, err := streams.Out.Write(cross.PEM()); err != nil {
			return failed(fmt.Errorf("writing the result: %w", err), "")
		}
		return nil
	}
	made := &created{}
	if err := made.file(o.out, cross.PEM(), 0o644); err != nil {
		return failed(errors.Join(fmt.Errorf("writing --out: %w", err), made.undo()), "")
	}
	return nil
}
