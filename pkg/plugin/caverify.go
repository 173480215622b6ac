package plugin

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/pki"
	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"
)

const caVerifyExample = `  # would an Envoy that trusts these roots accept this chain?
  kubectl meshca ca verify --roots root-cert.pem --chain chain.pem

  # as a client of this identity, on Envoy 1.37, and as istiod and ztunnel would judge it
  kubectl meshca ca verify --roots root-cert.pem --chain chain.pem --for all --usage client --envoy 1.37 \
    --spiffe spiffe://cluster.local/ns/payments/sa/api

  # will it still be accepted next year?
  kubectl meshca ca verify --roots root-cert.pem --chain chain.pem --at 2027-12-31`

type caVerifyOptions struct {
	roots, chain string
	judge        string
	usage        string
	at           moment
	spiffe, dns  string
	envoy        string
	output       string
}

func judgeNames() []string {
	return []string{string(pki.Envoy), string(pki.Go), string(pki.Webpki), "all"}
}

// bothUsages is what a mesh presents a leaf as: no single question of pki.
const bothUsages pki.Usage = "both"

func usageNames() []string {
	return []string{string(bothUsages), string(pki.ClientAuth), string(pki.ServerAuth), string(pki.AnyUsage)}
}

func newCAVerifyCommand(streams genericiooptions.IOStreams) *cobra.Command {
	var o caVerifyOptions
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Say whether Envoy, Go or ztunnel would accept a chain under a root bundle",
		Long: "Judges a chain, leaf first, by the rules of those who meet chains in a mesh: Envoy\n" +
			"(sidecars, gateways), Go (istiod, agents, API server) and ztunnel. They differ. The\n" +
			"answer is accepted, refused, or depends: releases differ, or it cannot be told. Only\n" +
			"accepted is yes. A leaf is judged as both sides of a connection present it, and the\n" +
			"answer depends where the two differ; a chain that begins with a CA has no usage.\n\n" +
			"Exit codes: 0 accepted by all that were asked, 2 refused or depends, 1 a file could not\n" +
			"be read, 64 bad usage.",
		Example: caVerifyExample,
		Args:    noArgs,
		RunE:    func(*cobra.Command, []string) error { return o.run(streams) },
	}
	flags := cmd.Flags()
	flags.StringVar(&o.roots, "roots", "", "PEM file of the root bundle, in its order")
	flags.StringVar(&o.chain, "chain", "", "PEM file of what is presented, leaf first")
	flags.StringVar(&o.judge, "for", string(pki.Envoy), "who judges: "+strings.Join(judgeNames(), ", "))
	flags.StringVar(&o.usage, "usage", "", "what the chain is presented as: "+strings.Join(usageNames(), ", ")+" (default both; of a chain that begins with a CA any)")
	flags.Var(&o.at, "at", "judge as of this time (default now)")
	flags.StringVar(&o.spiffe, "spiffe", "", "SPIFFE ID that the leaf must have")
	flags.StringVar(&o.dns, "dns", "", "DNS name that the leaf must have")
	flags.StringVar(&o.envoy, "envoy", "", "release of Envoy, such as 1.37 (default: any since 1.36)")
	outputFlag(cmd, &o.output)
	completions(cmd, "for", judgeNames()...)
	completions(cmd, "usage", usageNames()...)
	return cmd
}

func (o *caVerifyOptions) validate() (minor int, err error) {
	if err := validOutput(o.output); err != nil {
		return 0, err
	}
	switch {
	case o.roots == "" || o.chain == "":
		return 0, usage(errors.New("--roots and --chain are needed"), "the one is what is trusted, the other what is presented")
	case !slices.Contains(judgeNames(), o.judge):
		return 0, usage(fmt.Errorf("--for %q", o.judge), "use one of "+strings.Join(judgeNames(), ", "))
	case o.usage != "" && !slices.Contains(usageNames(), o.usage):
		return 0, usage(fmt.Errorf("--usage %q", o.usage), "use one of "+strings.Join(usageNames(), ", "))
	case o.envoy == "":
		return 0, nil
	}
	parts := strings.Split(strings.TrimPrefix(o.envoy, "v"), ".")
	if len(parts) > 1 && parts[0] == "1" {
		minor, err = strconv.Atoi(parts[1])
	}
	if err != nil || minor <= 0 {
		return 0, usage(fmt.Errorf("--envoy %q is not a release", o.envoy), "write 1.37: Envoy's own release, not Istio's")
	}
	return minor, nil
}

func (o *caVerifyOptions) run(streams genericiooptions.IOStreams) error {
	minor, err := o.validate()
	if err != nil {
		return err
	}
	in := &input{stdin: streams.In}
	roots, err := in.bundle("--roots", o.roots)
	if err != nil {
		return err
	}
	chain, err := in.bundle("--chain", o.chain)
	if err != nil {
		return err
	}
	for _, file := range []struct {
		flag, name string
		bundle     pki.Bundle
	}{{"--roots", o.roots, roots}, {"--chain", o.chain, chain}} {
		if err := file.bundle.ReadsAlike(); err != nil {
			return failed(fmt.Errorf("reading %s %s: %w: Go and Envoy do not read the same", file.flag, file.name, err), "'kubectl meshca ca lint' names the fault of a CA's file and its remedy")
		}
	}
	presentedAs := bothUsages
	if leaf := chain.Certs[0].X509; leaf != nil && leaf.IsCA {
		presentedAs = pki.AnyUsage // a CA's certificate is for neither side
		fmt.Fprintln(streams.ErrOut, "warning: "+plain("the first certificate of "+o.chain+" is a CA, "+chain.Certs[0].Subject()+": a chain begins with its leaf"))
	}
	if o.usage != "" {
		presentedAs = pki.Usage(o.usage)
	}
	judges := []pki.Judge{pki.Judge(o.judge)}
	if o.judge == "all" {
		judges = []pki.Judge{pki.Envoy, pki.Go, pki.Webpki}
	}
	report := newCAVerifyReport(pki.Question{
		Roots: roots.Certs, Chain: chain.Certs, At: o.at.orNow(), Usage: presentedAs, SPIFFE: o.spiffe, DNS: o.dns, EnvoyMinor: minor,
	}, judges)
	return errors.Join(printResult(streams.Out, o.output, report), report.failure())
}

// newCAVerifyReport asks the judges; it is pure.
func newCAVerifyReport(q pki.Question, judges []pki.Judge) *caVerifyReport {
	r := &caVerifyReport{APIVersion: mesh.APIVersion, Kind: "ChainVerdict", At: q.At, Usage: q.Usage, Roots: briefs(q.Roots), Chain: briefs(q.Chain)}
	for _, judge := range judges {
		q.Judge = judge
		answer := presented(q)
		r.Items = append(r.Items, caVerdict{Judge: judge, Result: answer.Result, Reason: answer.Reason, Path: briefs(answer.Path)})
	}
	// The worst answer is that of the whole.
	worst := slices.MaxFunc(r.Items, func(a, b caVerdict) int { return gravity(a.Result) - gravity(b.Result) })
	r.Result, r.Reason, r.Path = worst.Result, worst.Reason, worst.Path
	return r
}

// presented asks one judge, of both usages where none is named: where they differ the
// answer depends on the side, and says so.
func presented(q pki.Question) pki.Answer {
	if q.Usage != bothUsages {
		return pki.Verify(q)
	}
	q.Usage = pki.ClientAuth
	client := pki.Verify(q)
	q.Usage = pki.ServerAuth
	server := pki.Verify(q)
	side, worse, better := pki.ClientAuth, client, server
	if gravity(server.Result) > gravity(client.Result) {
		side, worse, better = pki.ServerAuth, server, client
	}
	if worse.Result == better.Result {
		return client
	}
	worse.Reason = fmt.Sprintf("as a %s it is %s: %s; as the other side %s", side, worse.Result, worse.Reason, better.Result)
	worse.Result = pki.Depends
	return worse
}

// gravity orders answers: accepted, depends, refused.
func gravity(r pki.Result) int {
	return slices.Index([]pki.Result{pki.Accepted, pki.Depends, pki.Refused}, r)
}

// caVerifyReport is the result of "ca verify".
type caVerifyReport struct {
	APIVersion string    `json:"apiVersion"`
	Kind       string    `json:"kind"`
	At         time.Time `json:"at"`
	Usage      pki.Usage `json:"usage"`
	// Result is the worst of Items, Reason and Path are its own.
	Result pki.Result  `json:"result"`
	Reason string      `json:"reason"`
	Path   []certBrief `json:"path,omitempty"`
	Items  []caVerdict `json:"items"`
	Roots  []certBrief `json:"roots"`
	Chain  []certBrief `json:"chain"`
}

type caVerdict struct {
	Judge  pki.Judge   `json:"judge"`
	Result pki.Result  `json:"result"`
	Reason string      `json:"reason"`
	Path   []certBrief `json:"path,omitempty"`
}

func (r *caVerifyReport) failure() error {
	if r.Result == pki.Accepted {
		return nil
	}
	var not []string
	for _, v := range r.Items {
		if v.Result != pki.Accepted {
			not = append(not, fmt.Sprintf("%s: %s", v.Judge, v.Result))
		}
	}
	return found(fmt.Errorf("not accepted (%s): %s", strings.Join(not, ", "), r.Reason), "'kubectl meshca ca inspect' shows names, key identifiers and dates of both files")
}

func (r *caVerifyReport) rows(wide bool) [][]string {
	rows := [][]string{{"JUDGE", "RESULT", "REASON"}}
	for _, v := range r.Items {
		rows = append(rows, []string{string(v.Judge), string(v.Result), v.Reason})
		if wide {
			for _, c := range v.Path {
				rows = append(rows, []string{"", "by way of " + c.Subject + "  " + c.Fingerprint.Short() + "  until " + stamp(c.NotAfter)})
			}
		}
	}
	return rows
}

func (r *caVerifyReport) names() []string {
	var all []string
	for _, v := range r.Items {
		all = append(all, string(v.Judge)+"/"+string(v.Result))
	}
	return all
}
