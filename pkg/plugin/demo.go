package plugin

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/rehearsal"
	"github.com/meshca/kubectl-meshca/pkg/rotation"
	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"
)

const (
	// operatorPause is how long the demonstration's operator looks at a closed gate
	// before he acts, where nobody else is there.
	operatorPause = 3 * time.Second
	// trafficEvery is how often the counters are shown.
	trafficEvery = 2 * time.Second
	// demoFileWait stands for kubelet's refresh of the pods' trust files.
	demoFileWait = 20 * time.Second
	// demoTimeout, by the mesh's clock, leaves time to read.
	demoTimeout = 12 * time.Hour
)

type demoOptions struct {
	scenario string
	speed    float64
	list     bool
	wizard   bool
	plain    bool
	output   string
	said     *verbosity
}

func newDemoCommand(said *verbosity, streams genericiooptions.IOStreams) *cobra.Command {
	o := demoOptions{said: said}
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Watch a rotation on a built-in mesh: no cluster is needed or touched",
		Long: "Rotates the root CA of a mesh in memory: 40 proxies in 6 namespaces, two istiods, a\n" +
			"gateway. Its certificates and judges are real, its clock runs faster. The counters are\n" +
			"those of every pair of proxies, which know nothing of the rotation. With --wizard the\n" +
			"wizard guides through it, as it would on a cluster.",
		Example: "  kubectl meshca demo\n  kubectl meshca demo --list\n  kubectl meshca demo --scenario cold --speed 60\n  kubectl meshca demo --wizard",
		Args:    noArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return o.run(cmd.Context(), streams) },
	}
	cmd.Flags().StringVar(&o.scenario, "scenario", rehearsal.Demos()[0], "the mesh to rotate; --list names them")
	cmd.Flags().Float64Var(&o.speed, "speed", 0, "how many times as fast as a real mesh (default: what can be watched)")
	cmd.Flags().BoolVar(&o.list, "list", false, "list the scenarios")
	cmd.Flags().BoolVar(&o.wizard, "wizard", false, "be guided through it on a terminal")
	cmd.Flags().BoolVar(&o.plain, "plain", false, "with --wizard: plain lines instead of a screen")
	cmd.Flags().StringVarP(&o.output, "output", "o", "table", "table, or json: one Event a line, and of --list one document")
	completions(cmd, "scenario", rehearsal.Demos()...)
	completions(cmd, "output", "table", "json")
	return cmd
}

func (o *demoOptions) validate() error {
	switch {
	case !slices.Contains(rehearsal.Demos(), o.scenario):
		return usage(fmt.Errorf("unknown scenario %q", o.scenario), "use one of "+strings.Join(rehearsal.Demos(), ", "))
	case math.IsNaN(o.speed) || o.speed < 0 || o.speed > 10000:
		return usage(fmt.Errorf("--speed %g", o.speed), "give a number up to 10000; 1 is the speed of a real mesh")
	case o.plain && !o.wizard:
		return usage(errors.New("--plain without --wizard"), "the demo itself prints plain lines: leave --plain out, or give --wizard too")
	case o.output != "table" && o.output != "json":
		return usage(fmt.Errorf("unknown output format %q", o.output), "use table or json")
	}
	return nil
}

func (o *demoOptions) run(ctx context.Context, streams genericiooptions.IOStreams) error {
	if err := o.validate(); err != nil {
		return err
	}
	if o.list {
		return printResult(streams.Out, o.output, newScenarioList())
	}
	if o.wizard && !hasTerminal(streams, o.plain) {
		return usage(errors.New("the wizard needs a terminal"), "leave --wizard out, or give --plain, which needs no screen")
	}
	if o.speed == 0 {
		o.speed = rehearsal.DemoSpeed(o.scenario)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	clock := rehearsal.NewPaced(time.Now(), o.speed)
	go clock.Run(ctx, wallClock{})
	d, err := rehearsal.Demo(ctx, clock, o.scenario)
	if err != nil {
		return failed(fmt.Errorf("starting the mesh in memory: %w", err), "")
	}
	if o.wizard {
		return runDemoWizard(ctx, d, streams, o.plain, o.said.color)
	}
	fmt.Fprintf(streams.ErrOut, "A mesh in memory: %s.\nIts clock runs %g times as fast as yours.\n\n", d.About, o.speed)
	printer := newEventPrinter(streams, o.output)
	printer.quiet = o.said.quiet
	show := &demonstration{Demonstration: d, streams: streams, printer: printer}
	return show.rotate(ctx)
}

// scenarioList is the result of "demo --list".
type scenarioList struct {
	APIVersion string         `json:"apiVersion"`
	Kind       string         `json:"kind"`
	Items      []scenarioItem `json:"items"`
}

type scenarioItem struct {
	Name  string `json:"name"`
	About string `json:"about"`
}

func newScenarioList() *scenarioList {
	r := &scenarioList{APIVersion: mesh.APIVersion, Kind: "ScenarioList"}
	for _, name := range rehearsal.Demos() {
		r.Items = append(r.Items, scenarioItem{Name: name, About: rehearsal.AboutDemo(name)})
	}
	return r
}

func (r *scenarioList) rows(bool) (all [][]string) {
	for _, s := range r.Items {
		all = append(all, []string{s.Name, s.About})
	}
	return all
}

func (r *scenarioList) names() (all []string) {
	for _, s := range r.Items {
		all = append(all, s.Name)
	}
	return all
}

// demonstration is a rotation of a built-in mesh, its audience and its operator.
type demonstration struct {
	*rehearsal.Demonstration
	streams genericiooptions.IOStreams
	mu      sync.Mutex // one line at a time
	printer *eventPrinter
	acting  bool
}

func (d *demonstration) rotate(ctx context.Context) error {
	observer := &observer{collector: d.Mesh.Collector(), prober: d.Mesh.Prober(true)}
	s, err := observer.whole(ctx)
	if err != nil {
		return err
	}
	plan := rotation.NewPlan(s, rotation.Config{New: d.New, Cross: d.Cross, TrustFileWait: demoFileWait, CSRProof: true})
	if len(plan.Refusals) > 0 {
		if err := d.printer.plan(plan); err != nil {
			return failed(fmt.Errorf("writing the plan: %w", err), "")
		}
		return refusal(plan)
	}
	if err := d.printer.brief(plan); err != nil {
		return failed(fmt.Errorf("writing the plan: %w", err), "")
	}
	fmt.Fprintln(d.streams.ErrOut)
	watching, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { d.count(watching) })
	engine := &rotation.Engine{
		Kube: d.Mesh.Kube, Observer: observer, Clock: d.Clock, Holder: holder(), Timeout: demoTimeout,
		Emit: func(e rotation.Event) {
			d.line(func() { d.printer.event(e) })
			if e.Kind == rotation.EventGate && e.Gate != nil && d.closes(e.Gate) {
				d.acting = true
				go d.operate(ctx)
			}
		},
	}
	outlivesReaders()
	err = engine.Run(ctx, plan, nil)
	stop()
	wg.Wait()
	d.line(func() { d.traffic() })
	if errors.As(err, new(signalled)) {
		return err // there is nothing that one could go on from
	}
	if pairs, _ := d.Mesh.Failures(); err == nil && len(pairs) > 0 {
		return failed(fmt.Errorf("%s could not reach %s: %s", pairs[0].Client, pairs[0].Server, pairs[0].Reason), "this is a fault of the program: please report it")
	}
	return outcome(err)
}

// line prints with nobody in between.
func (d *demonstration) line(print func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	print()
}

// closes reports whether the straggler is all that keeps a gate closed, for the
// first time.
func (d *demonstration) closes(s *rotation.Status) bool {
	return !d.acting && d.Straggler != "" && len(s.Blockers) == 1 && s.Blockers[0].Object == d.Straggler
}

// operate is what the operator does: whoever sits at the terminal, or after a
// moment the demonstration's own.
func (d *demonstration) operate(ctx context.Context) {
	who := "nobody is at a terminal, so the demo acts"
	if isTerminal(d.streams.In) && isTerminal(d.streams.ErrOut) {
		who = "you"
		d.line(func() {
			d.printer.end()
			fmt.Fprintf(d.streams.ErrOut, "\n%s keeps the gate closed: its agent hangs. Nothing goes on until somebody acts.\nPress Enter to replace its pod.\n", plain(d.Straggler))
		})
		if _, err := bufio.NewReader(d.streams.In).ReadString('\n'); err != nil {
			return // nobody is there any more
		}
	} else {
		select {
		case <-ctx.Done():
			return
		case <-time.After(operatorPause):
		}
	}
	d.line(func() {
		d.printer.end()
		did, err := d.Act()
		if err != nil {
			did += ": " + err.Error()
		}
		fmt.Fprintf(d.streams.ErrOut, "%s  operator      %s: %s\n", d.Clock.Now().Local().Format(time.TimeOnly), who, plain(did))
	})
}

// count shows the counters now and then.
func (d *demonstration) count(ctx context.Context) {
	ticks := time.NewTicker(trafficEvery)
	defer ticks.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticks.C:
			d.line(d.traffic)
		}
	}
}

func (d *demonstration) traffic() {
	t := d.Mesh.Traffic()
	d.printer.end()
	fmt.Fprintf(d.streams.ErrOut, "%s  traffic       %d requests, %d failed; %d handshakes, %d failed\n",
		d.Clock.Now().Local().Format(time.TimeOnly), t.Requests, t.RequestsFailed, t.Handshakes, t.HandshakesFailed)
}
