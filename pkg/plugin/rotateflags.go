package plugin

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/rotation"
	"github.com/meshca/kubectl-meshca/pkg/rotation/restart"
	"github.com/spf13/cobra"
)

// defaultTrustFileWait is kubelet's refresh (a sync a minute, and a cache of a
// minute) for the pods' copies of a ConfigMap.
const defaultTrustFileWait = 2 * time.Minute

// defaultBaseline is how long traffic is counted before the first write.
const defaultBaseline = 10 * time.Second

// runFlags are those of a run, forward or back; until names the flag that ends it.
func (o *rotateOptions) runFlags(cmd *cobra.Command, until string) {
	flags := cmd.Flags()
	o.gateFlags(cmd, until)
	flags.StringVar(&o.takeOver, "take-over", "", "user@host/process that holds the lease and is known to be dead: do not wait until it runs out")
	flags.BoolVarP(&o.yes, "yes", "y", false, "do not ask before the first change")
	dryRunFlag(cmd, &o.dryRun, "none; client: plan only; server: send the next write to the API server, which keeps nothing")
	flags.StringVarP(&o.output, "output", "o", "table", "table, or json: one Event a line")
	flags.DurationVar(&o.baseline, "traffic-baseline", defaultBaseline, "how long traffic is counted before the first write, so that failures that rise close a gate; 0 leaves it out")
	completions(cmd, "output", "table", "json")
}

// gateFlags are those that decide how long a run waits, and for whom.
func (o *rotateOptions) gateFlags(cmd *cobra.Command, until string) {
	flags := cmd.Flags()
	waitFlag(flags, &o.timeout, "the plan's longest wait and 10m")
	flags.StringVar(&o.until, until, "", "stop after this phase, where the strategy has it: "+strings.Join(phaseNames(), ", "))
	o.acceptFlag(cmd)
	flags.DurationVar(&o.soak, "soak", 0, "how long a gate must have been open before the next write")
	flags.IntVar(&o.atOnce, "restarts-at-once", restart.DefaultAtOnce, "how many workloads are restarted at one time, where the strategy restarts any")
	flags.StringArrayVar(&o.allowRestart, "allow-restart", nil, "namespace/name of a workload that may be restarted though it serves nobody meanwhile")
	completions(cmd, until, phaseNames()...)
}

func (o *rotateOptions) acceptFlag(cmd *cobra.Command) {
	cmd.Flags().StringArrayVar(&o.accept, "accept", nil, "namespace/name=reason: let this object stay unknown (never a failure that was seen); before a root is taken away, the life of its certificate is waited for")
}

// planFlags are those that decide what the plan is.
func (o *rotateOptions) planFlags(cmd *cobra.Command) {
	o.meshFlags.addFlags(cmd.Flags())
	o.caFlags.addFlags(cmd)
	cmd.Flags().StringVar(&o.strategy, "strategy", "", "one of "+strings.Join(strategyNames(), ", ")+" (default: the best that is possible)")
	cmd.Flags().StringVar(&o.reason, "reason", string(rotation.Expiring), "why the CA is replaced: expiring, compromised or move; it weighs the strategies")
	o.meshKindFlags(cmd)
	completions(cmd, "strategy", strategyNames()...)
	completions(cmd, "reason", reasonNames()...)
	completions(cmd, "key", keySpecNames()...)
}

// proofFlags are those that say what is proof enough, whatever the plan.
func (o *rotateOptions) proofFlags(cmd *cobra.Command) {
	o.meshKindFlags(cmd)
	o.csrFlag(cmd)
}

// csrFlag is for what proves a write: a plan asks no istiod to sign, with it or
// without.
func (o *rotateOptions) csrFlag(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&o.noCSRProof, "no-csr-proof", false, "do not ask istiods to sign a throw-away request: the chain they serve is the evidence then")
}

// meshKindFlags say of the mesh what cannot be seen, or is not taken on trust.
func (o *rotateOptions) meshKindFlags(cmd *cobra.Command) {
	cmd.Flags().DurationVar(&o.trustFileWait, "trust-file-wait", defaultTrustFileWait, "how long pods' copies of the trust ConfigMap may lag; 0 only where every agent is 1.20.1 or newer")
	cmd.Flags().DurationVar(&o.vmLife, "vm-certificate-life", 0, "what virtual machines' agents ask for (SECRET_TTL; 24h unless set); default: the most that istiods allow")
	cmd.Flags().BoolVar(&o.untested, "untested", false, "write to meshes of a kind that this has never been proven on (ambient, Citadel before 1.4)")
	cmd.Flags().BoolVar(&o.singleCluster, "single-cluster", false, "gateways and networks of the mesh config are this cluster's own")
}

func (o *rotateOptions) validate() error {
	if err := errors.Join(o.meshFlags.validate(), o.caFlags.validate()); err != nil {
		return err
	}
	switch {
	case o.strategy != "" && !slices.Contains(rotation.Strategies(), rotation.Strategy(o.strategy)):
		return usage(fmt.Errorf("unknown strategy %q", o.strategy), "use one of "+strings.Join(strategyNames(), ", "))
	case !slices.Contains(reasonNames(), o.reason):
		return usage(fmt.Errorf("unknown reason %q", o.reason), "use one of "+strings.Join(reasonNames(), ", "))
	case o.soak < 0 || o.baseline < 0:
		return usage(fmt.Errorf("--soak %s and --traffic-baseline %s may not be negative", o.soak, o.baseline), "0 leaves the wait out")
	case o.atOnce < 0:
		return usage(fmt.Errorf("--restarts-at-once %d is negative", o.atOnce), "1 restarts one workload after the other")
	case o.until != "" && !slices.Contains(phaseNames(), o.until):
		return usage(fmt.Errorf("unknown phase %q", o.until), "use one of "+strings.Join(phaseNames(), ", "))
	case o.trustFileWait < 0:
		return usage(fmt.Errorf("--trust-file-wait %s is negative", o.trustFileWait), "0 leaves the wait out")
	case o.vmLife < 0:
		return usage(fmt.Errorf("--vm-certificate-life %s is negative", o.vmLife), "say what their agents ask for, or leave it out")
	case o.dryRun != "" && validDryRun(o.dryRun) != nil: // plan has none
		return validDryRun(o.dryRun)
	case o.output != "" && o.output != "table" && o.output != "json":
		return usage(fmt.Errorf("unknown output format %q", o.output), "use table or json")
	}
	for _, workload := range o.allowRestart {
		if namespace, name, ok := strings.Cut(workload, "/"); !ok || namespace == "" || name == "" || strings.Contains(name, "/") {
			return usage(fmt.Errorf("--allow-restart %q", workload), "write namespace/name of the workload")
		}
	}
	_, err := o.accepted()
	return err
}

func (o *rotateOptions) accepted() (map[string]string, error) { return acceptances(o.accept) }

// acceptances are what --accept says: objects that may stay unknown, with the reason.
func acceptances(texts []string) (map[string]string, error) {
	all := map[string]string{}
	for _, text := range texts {
		object, reason, ok := strings.Cut(text, "=")
		if !ok || !strings.Contains(object, "/") || strings.TrimSpace(reason) == "" {
			return nil, usage(fmt.Errorf("--accept %q", text), "write namespace/name=reason: the reason goes into the journal")
		}
		all[object] = reason
	}
	return all, nil
}
