package plugin

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/check"
	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/pki"
	"github.com/meshca/kubectl-meshca/pkg/rotation"
	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/cli-runtime/pkg/genericiooptions"
)

const verifyExample = `  # do all istiods, ConfigMaps, webhooks and live proxies agree with the mesh's own CA?
  kubectl meshca verify

  # has the whole mesh come to this root, and to nothing else? wait for it ten minutes
  kubectl meshca verify --root new-root.pem --timeout 10m

  # the strongest proof: every istiod signs a throw-away request
  kubectl meshca verify --csr-proof`

// verifyReport is the result of "verify".
type verifyReport struct {
	APIVersion string      `json:"apiVersion"`
	Kind       string      `json:"kind"`
	Verified   bool        `json:"verified"`
	Roots      []certBrief `json:"roots"`
	// WorkloadRoots are what proxies are held against, where that is not Roots.
	WorkloadRoots []certBrief     `json:"workloadRoots,omitempty"`
	Status        rotation.Status `json:"status"`
	// Secrets are the workload certificates of a Citadel mesh.
	Secrets rotation.Count `json:"secrets,omitzero"`
	Classes []check.Class  `json:"classes"`
	// Refused are the pairs of classes of which one would refuse the other.
	Refused []check.Pair `json:"refused,omitempty"`
	// IfNow is what would break if the next step came now: if everybody trusted the roots
	// that were asked for, and no others. It is left out where everybody does.
	IfNow *ifNow             `json:"ifNow,omitempty"`
	Items []rotation.Blocker `json:"items"`
	// NotSeen could not be read, and the verdict does not rest on it.
	NotSeen []check.Unseen `json:"notSeen,omitempty"`

	pairs []check.Pair
	// apart is true where proxies trust others than istiods publish, and one list was held
	// against both.
	apart bool
}

// ifNow is what a step would do that is not made yet.
type ifNow struct {
	Pairs   int          `json:"pairs"`
	Refused []check.Pair `json:"refused,omitempty"`
}

func (i ifNow) String() string {
	text := fmt.Sprintf("if everybody trusted these roots alone now: of %s %d would fail", counted(i.Pairs, "pair"), len(i.Refused))
	if len(i.Refused) > 0 {
		text += ", the first: " + meeting(i.Refused[0])
	}
	return text
}

// wantedRoots are what an operator wants a mesh to be held against, nil for what it says
// itself. Without istiod's own, roots are everybody's.
type wantedRoots struct{ roots, istiod *pki.Bundle }

type verifyOptions struct {
	sourceFlags
	root     string
	istiod   string
	timeout  time.Duration
	output   string
	selector string
	all      bool
}

func newVerifyCommand(c *cluster, streams genericiooptions.IOStreams) *cobra.Command {
	o := verifyOptions{sourceFlags: sourceFlags{clients: true}}
	cmd := &cobra.Command{
		Use:     "verify",
		Aliases: []string{"verify-certs"},
		Short:   "Prove from every live proxy, istiod, ConfigMap and webhook which roots the mesh trusts",
		Long: "Holds every istiod, trust ConfigMap, webhook and live proxy against the expected roots\n" +
			"(those of the mesh's own CA, or --root), and asks of every pair of proxies whether the\n" +
			"one would accept the other. What cannot be read is named, and is never yes; what the\n" +
			"verdict does not rest on is named as not seen. With --root it says too, while that is\n" +
			"not so yet, what would break if everybody trusted these roots alone now.\n\n" +
			"Where a Kubernetes signer or SPIRE signs for workloads, istiod may be under another root:\n" +
			"--istiod-root then names what it serves and publishes, and --root what proxies trust.\n\n" +
			"Exit codes: 0 proven, 2 not proven, 124 not proven within --timeout, 1 it could not be\n" +
			"done, 64 bad usage.",
		Example: verifyExample,
		Args:    noArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return o.run(cmd.Context(), c, streams) },
	}
	o.addFlags(cmd.Flags())
	outputFlag(cmd, &o.output)
	filterFlags(cmd, &o.selector, &o.all)
	cmd.Flags().StringVar(&o.root, "root", "", "PEM file of the roots that everybody must trust, and no others")
	cmd.Flags().StringVar(&o.istiod, "istiod-root", "", "PEM file of istiod's own roots, where workloads' certificates are signed elsewhere and --root is of these alone")
	cmd.Flags().DurationVar(&o.timeout, "timeout", 0, "how long to wait until it is true; 0 looks once")
	return cmd
}

func (o *verifyOptions) run(ctx context.Context, c *cluster, streams genericiooptions.IOStreams) error {
	if err := o.validate(); err != nil {
		return err
	}
	if err := validOutput(o.output); err != nil {
		return err
	}
	switch {
	case o.timeout < 0:
		return usage(fmt.Errorf("--timeout %s is negative", o.timeout), "0 looks once")
	case o.from != "" && o.timeout > 0:
		return usage(errors.New("--from-snapshot and --timeout exclude each other"), "a saved snapshot does not change")
	}
	show, err := c.filter(o.selector, o.all)
	if err != nil {
		return err
	}
	want, err := o.wanted()
	if err != nil {
		return err
	}
	last := sight{}
	if o.timeout > 0 {
		err = o.wait(ctx, c, streams, want, &last)
	} else {
		last, err = o.look(ctx, c, streams, want)
	}
	if last.report == nil {
		return err
	}
	if err == nil {
		err = last.report.failure(o.timeout > 0)
	}
	last.report.filter(last.snapshot, show)
	return errors.Join(printResult(streams.Out, o.output, last.report), err)
}

// sight is one look, and what is said of it.
type sight struct {
	snapshot *mesh.Snapshot
	report   *verifyReport
}

func (o *verifyOptions) look(ctx context.Context, c *cluster, streams genericiooptions.IOStreams, want wantedRoots) (sight, error) {
	s, err := o.snapshot(ctx, c, streams)
	if err != nil {
		return sight{}, err
	}
	report, err := newVerifyReport(s, want, o.csrProof)
	return sight{s, report}, err
}

// wait looks until it is proven, or the time is over. What it saw last is left in last. An
// API server that restarts is waited for as a proxy is, once the mesh was seen: before that
// it is as likely that the command names the wrong one.
func (o *verifyOptions) wait(ctx context.Context, c *cluster, streams genericiooptions.IOStreams, want wantedRoots, last *sight) error {
	deadline := time.Now().Add(o.timeout)
	within, cancel := context.WithDeadlineCause(ctx, deadline, errors.New("it was not over in time"))
	defer cancel()
	var refusal error // why the look before this one failed, if it did
	for poll := time.Second; ; poll = min(2*poll, 15*time.Second) {
		began := time.Now()
		seen, err := o.look(within, c, streams, want)
		left, took := time.Until(deadline), time.Since(began)
		if err != nil && within.Err() != nil && refusal != nil {
			err = refusal // that it was cut short says less
		}
		refusal = err
		switch {
		case ctx.Err() != nil:
			*last = sight{}
			return context.Cause(ctx)
		case err == nil:
			if *last = seen; seen.report.Verified || left <= 0 {
				return nil
			}
		case within.Err() != nil && last.report == nil:
			return &Failure{Err: fmt.Errorf("nothing could be told within --timeout %s: %w", o.timeout, err), Code: ExitTimeout, Hint: "does the API server answer? 'kubectl version' asks the same one; a large mesh needs a longer time"}
		case last.report == nil:
			return err
		case apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err):
			*last = sight{}
			return err
		}
		if left > 0 {
			inTheWay, first := len(last.report.Items)+len(last.report.Refused), last.report.first()
			if err != nil {
				first = "the mesh could not be looked at: " + err.Error()
			}
			if !c.quiet {
				fmt.Fprintln(streams.ErrOut, plain(fmt.Sprintf("waiting: %d in the way, %s left: %s", inTheWay, left.Round(time.Second), first)))
			}
			pause := min(poll, left)
			if spare := left - 2*took; spare > 0 { // the last look ends before the time does
				pause = min(poll, spare)
			}
			select {
			case <-ctx.Done():
				*last = sight{}
				return context.Cause(ctx)
			case <-time.After(pause):
			}
		}
		if within.Err() == nil {
			continue
		}
		if err != nil {
			return &Failure{Err: fmt.Errorf("%w; the last look failed: %w", last.report.failure(true), err), Code: ExitTimeout, Hint: hintOf(err)}
		}
		return nil
	}
}

func (o *verifyOptions) wanted() (want wantedRoots, err error) {
	read := func(flag, name string) *pki.Bundle {
		if name == "" || err != nil {
			return nil
		}
		var bundle pki.Bundle
		bundle, err = readRoots(flag, name)
		return &bundle
	}
	want.roots = read("--root", o.root)
	want.istiod = read("--istiod-root", o.istiod)
	return want, err
}

// expected is what a mesh is held against: what it says itself, and what is wanted of it.
func (w wantedRoots) expected(s *mesh.Snapshot) (rotation.Expectation, error) {
	expect, ok := rotation.Present(s)
	if w.istiod != nil && slices.ContainsFunc(s.ControlPlanes, signsItself) {
		return expect, usage(errors.New("--istiod-root is for a mesh whose workloads' certificates are signed elsewhere, by a Kubernetes signer or SPIRE: here istiod signs them"), "name the roots of all with --root")
	}
	if w.roots == nil && !ok {
		return expect, failed(errors.New("neither the CA Secret nor a trust ConfigMap of istiod's namespace can be read: there is nothing to hold the mesh against"), "name the roots with --root")
	}
	if w.roots != nil {
		all := w.roots.Certs
		expect = rotation.Expectation{Roots: all, Trusted: all, Only: true, Accepted: all, Own: true, Citadel: expect.Citadel}
	}
	if w.istiod != nil {
		expect.Roots = w.istiod.Certs
	}
	return expect, nil
}

// signsItself reports whether workloads get their certificates from a control plane's own
// CA, or from where its own certificate comes from too.
func signsItself(plane mesh.ControlPlane) bool {
	switch plane.CA.Kind {
	case mesh.CARA, mesh.CASPIRE, mesh.CAUnsupported:
		return false
	}
	return true
}

// newVerifyReport judges a Snapshot; it is pure.
func newVerifyReport(s *mesh.Snapshot, want wantedRoots, csrProof bool) (*verifyReport, error) {
	if len(s.ControlPlanes) == 0 {
		return nil, failed(errors.New("no istiod was found"), "is Istio installed here? name its namespace with --istio-namespace")
	}
	expect, err := want.expected(s)
	if err != nil {
		return nil, err
	}
	expect.CSRProof = csrProof
	r := &verifyReport{APIVersion: mesh.APIVersion, Kind: "Verification", Roots: briefs(expect.Roots), Status: expect.Judge(s, nil)}
	if !pki.NewSet(expect.Roots...).Equal(pki.NewSet(expect.Trusted...)) {
		r.WorkloadRoots = briefs(expect.Trusted)
	}
	if present, ok := rotation.Present(s); ok && want.roots != nil && want.istiod == nil {
		r.apart = !pki.NewSet(present.Roots...).Equal(pki.NewSet(present.Trusted...))
	}
	r.Items = append([]rotation.Blocker{}, r.Status.Blockers...)
	r.Status.Blockers = nil
	r.NotSeen = check.NotSeen(s)
	r.secrets(s, want.roots)
	r.Classes = check.Classes(s)
	r.pairs = check.Matrix(r.Classes, s.ClusterTime())
	r.Refused = failing(r.pairs)
	r.Verified = len(r.Items) == 0 && len(r.Refused) == 0
	if want.roots != nil && !r.Verified && len(r.Classes) > 0 {
		pairs := check.MatrixAfter(r.Classes, want.roots.Certs, nil, s.ClusterTime())
		r.IfNow = &ifNow{Pairs: len(pairs), Refused: failing(pairs)}
	}
	return r, nil
}

// meeting says who refuses whom.
func meeting(p check.Pair) string {
	return fmt.Sprintf("%s calls %s: the %s says: %s", p.Client, p.Server, p.By, p.Answer.Reason)
}

// failing are the pairs that would not, or might not, meet.
func failing(pairs []check.Pair) (failing []check.Pair) {
	for _, pair := range pairs {
		if pair.Answer.Result != pki.Accepted {
			failing = append(failing, pair)
		}
	}
	return failing
}

// secrets judges every workload Secret of a Citadel mesh.
func (r *verifyReport) secrets(s *mesh.Snapshot, want *pki.Bundle) {
	// The gate's word on each is the shorter one.
	r.Items = slices.DeleteFunc(r.Items, func(b rotation.Blocker) bool {
		return b.Kind == "secret" && slices.ContainsFunc(s.WorkloadSecrets, func(w mesh.WorkloadSecret) bool { return w.Ref() == b.Object })
	})
	for _, v := range check.SecretVerdicts(s, want) {
		r.Secrets.Of++
		if v.Why == "" {
			r.Secrets.Ready++
			continue
		}
		r.Items = append(r.Items, rotation.Blocker{Kind: "secret", Object: v.Secret, Why: v.Why, Unknown: v.Unknown})
	}
}

// filter drops rows that were not asked for; the verdict is made before.
func (r *verifyReport) filter(s *mesh.Snapshot, show func(string, map[string]string) bool) {
	labelled := map[string]map[string]string{}
	for _, p := range s.Proxies {
		labelled[p.Ref()] = p.Labels
	}
	kept := r.Items[:0]
	for _, b := range r.Items {
		namespace, _, ok := strings.Cut(b.Object, "/")
		if b.Kind != "proxy" && b.Kind != "secret" || !ok || show(namespace, labelled[b.Object]) {
			kept = append(kept, b)
		}
	}
	r.Items = kept
}

func (r *verifyReport) first() string {
	switch {
	case len(r.Items) > 0:
		return r.Items[0].String()
	case len(r.Refused) > 0:
		return fmt.Sprintf("class %s would not accept class %s: %s", r.Refused[0].Server, r.Refused[0].Client, r.Refused[0].Answer.Reason)
	}
	return ""
}

func (r *verifyReport) failure(waited bool) error {
	if r.Verified {
		return nil
	}
	const few = 5
	var names []string
	for _, b := range r.Items[:min(few, len(r.Items))] {
		names = append(names, b.Kind+" "+b.Object)
	}
	if more := len(r.Items) - few; more > 0 {
		names = append(names, fmt.Sprintf("%d more", more))
	}
	if len(r.Refused) > 0 {
		names = append(names, fmt.Sprintf("%d pairs of classes would refuse each other", len(r.Refused)))
	}
	code := ExitFindings
	if waited {
		code = ExitTimeout
	}
	hint := "each line says why; what cannot be read is not proven"
	if r.apart {
		hint = "istiod is under another root here than workloads: name its own with --istiod-root, and theirs with --root"
	}
	return &Failure{Err: fmt.Errorf("not proven: %s", strings.Join(names, ", ")), Code: code, Hint: hint}
}

func (r *verifyReport) rows(wide bool) [][]string {
	rows := [][]string{{"WHAT", "PROVEN", "OF"}}
	count := func(what string, c rotation.Count) {
		rows = append(rows, []string{what, strconv.Itoa(c.Ready), strconv.Itoa(c.Of)})
	}
	count("istiods ("+r.Status.Evidence+")", r.Status.Replicas)
	count("trust ConfigMaps", r.Status.ConfigMaps)
	count("webhooks", r.Status.Webhooks)
	count("proxies", r.Status.Proxies)
	if r.Secrets.Of > 0 {
		count("workload Secrets", r.Secrets)
	}
	word := "root: "
	if len(r.WorkloadRoots) > 0 {
		word = "istiod's root: "
	}
	for _, root := range r.Roots {
		rows = append(rows, []string{word + root.Subject + "  " + root.Fingerprint.Short() + "  until " + stamp(root.NotAfter)})
	}
	for _, root := range r.WorkloadRoots {
		rows = append(rows, []string{"workloads' root: " + root.Subject + "  " + root.Fingerprint.Short() + "  until " + stamp(root.NotAfter)})
	}
	if wide {
		for _, n := range r.Status.Namespaces {
			rows = append(rows, []string{"proxies of " + n.Namespace, strconv.Itoa(n.Ready), strconv.Itoa(n.Proxies)})
		}
	}
	if len(r.Classes) > 1 || wide {
		for _, c := range r.Classes {
			rows = append(rows, []string{fmt.Sprintf("class %s: %s: %s", c.Name, counted(len(c.Proxies), "proxy"), c.About())})
		}
	}
	for _, pair := range r.Refused {
		rows = append(rows, []string{"refused: " + meeting(pair)})
	}
	if r.IfNow != nil {
		rows = append(rows, []string{r.IfNow.String()})
	}
	for _, b := range r.Items {
		rows = append(rows, []string{"not proven: " + b.String()})
	}
	for _, u := range r.NotSeen {
		rows = append(rows, []string{fmt.Sprintf("not seen: %s: %s; it would tell %s", u.Part, u.Error, u.Adds)})
	}
	verdict := "not proven"
	if r.Verified {
		verdict = r.proven()
	}
	if n := len(r.NotSeen); n > 0 {
		verdict += fmt.Sprintf("; %d parts not seen", n)
	}
	return append(rows, []string{"verdict: " + verdict})
}

// proven is what has been proven, and of how many.
func (r *verifyReport) proven() string {
	of := r.Status.Counts()
	if len(r.Classes) > 0 {
		of = fmt.Sprintf("%s, %s, %s", counted(r.Status.Proxies.Of, "proxy"), counted(len(r.Classes), "class"), counted(len(r.pairs), "pair"))
	}
	return fmt.Sprintf("proven: %s (%s)", r.Status.Proves(len(r.Classes) > 0), of)
}

func (r *verifyReport) names() []string {
	var all []string
	for _, b := range r.Items {
		all = append(all, b.Kind+"/"+b.Object)
	}
	return all
}
