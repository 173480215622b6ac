package plugin

import (
	"fmt"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/rotation"
	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/kubernetes"
)

const planExample = `  # what a rotation to this CA would do, what it costs, or why it would be refused
  kubectl meshca plan --root root.pem --ca-cert ca.pem --ca-key ca-key.pem --chain chain.pem

  # what each step would write, for those who write it themselves; with its keys, sealed
  kubectl meshca plan --root root.pem --ca-cert ca.pem --ca-key ca-key.pem --manifests steps --seal-to age1... --identity key.txt

  # from a saved snapshot, offline
  kubectl meshca plan --root root.pem --ca-cert ca.pem --ca-key ca-key.pem --from-snapshot mesh.json`

func newPlanCommand(c *cluster, streams genericiooptions.IOStreams) *cobra.Command {
	var o rotateOptions
	var from, manifests string
	cmd := &cobra.Command{
		Use:   "plan",
		Short: "Say what a rotation would do, what it costs, or why it would be refused",
		Long: "Reads the mesh and plans: which strategies are possible and why, the phases, the\n" +
			"certificate requests, restarts and waits. Nothing is changed. --manifests writes each step\n" +
			"as a file, for whoever writes the CA Secret by other means (Argo CD, Flux, External\n" +
			"Secrets, Vault): there 'rotate' is refused, and this is not.\n\n" +
			"Exit codes: 0 it can be done, 2 it would be refused, or would not begin as the mesh is\n" +
			"now, 1 it could not be done, 64 bad usage.",
		Example: planExample,
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			format := o.output
			o.output = ""
			if err := o.validateManifests(manifests, from); err != nil {
				return err
			}
			if err := o.validate(); err != nil {
				return err
			}
			if err := validOutput(format); err != nil {
				return err
			}
			if o.byOwner = manifests != ""; o.byOwner {
				if err := o.asked(streams); err != nil {
					return err
				}
			}
			ca, err := o.material()
			if err != nil {
				return err
			}
			plan, kube, err := o.planOnly(cmd, c, streams, ca, from)
			if err != nil {
				return err
			}
			printer := c.printer(streams, format)
			if format == "yaml" {
				raw, err := yamlOf(planReport{APIVersion: mesh.APIVersion, Kind: "Plan", Plan: c.carryPlan(plan)})
				if err != nil {
					return failed(fmt.Errorf("writing the plan: %w", err), "")
				}
				if _, err := streams.Out.Write(raw); err != nil {
					return failed(fmt.Errorf("writing the plan: %w", err), "")
				}
			} else if format == "name" {
				for _, step := range plan.Steps {
					fmt.Fprintln(streams.Out, step.Phase)
				}
			} else if err := printer.plan(plan); err != nil {
				return failed(fmt.Errorf("writing the plan: %w", err), "")
			}
			if err := refusal(plan); err != nil {
				return err
			}
			if manifests != "" { // whoever writes them has the gates to wait at beside them
				if err := o.manifests(cmd.Context(), kube, plan, manifests, streams); err != nil {
					return err
				}
			}
			return unbegun(plan)
		},
	}
	o.planFlags(cmd)
	o.acceptFlag(cmd)
	outputFlag(cmd, &o.output)
	fromFlag(cmd.Flags(), &from)
	cmd.Flags().StringVar(&manifests, "manifests", "", "empty directory for what each step writes, with a README of order and gates; keys only sealed, with --seal-to")
	return cmd
}

func (o *rotateOptions) planOnly(cmd *cobra.Command, c *cluster, streams genericiooptions.IOStreams, ca newCA, from string) (*rotation.Plan, kubernetes.Interface, error) {
	if from == "" {
		// A plan reads: no throw-away request is made for it.
		observer, err := o.observer(c, false)
		if err != nil {
			return nil, nil, err
		}
		p, err := o.prepare(cmd.Context(), observer, ca)
		return p.plan, observer.collector.Kube, err
	}
	if ca.authority == nil {
		return nil, nil, usage(fmt.Errorf("--from-snapshot needs the new CA"), "give --root, --ca-cert, --ca-key and --chain, or --new-ca")
	}
	s, err := o.saved(from, streams)
	if err != nil {
		return nil, nil, err
	}
	config := o.config(ca.authority)
	if config.Cross, err = o.crossCert(s, ca.authority, s.TakenAt); err != nil {
		return nil, nil, err
	}
	plan := rotation.NewPlan(s, config)
	accept, err := o.accepted()
	if err == nil {
		plan.Begin(s, accept)
	}
	return plan, nil, err
}
