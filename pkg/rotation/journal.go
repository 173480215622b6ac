package rotation

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/rotation/traffic"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

const (
	journalPrefix = "meshca-rotation-"
	// stateEntry and logEntry are the ConfigMap's entries; brokenEntry keeps what stood in
	// the place of a state that could not be read.
	stateEntry, logEntry, brokenEntry = "state", "log", "unreadable"
	// maxState and maxLog keep a journal far below an object's limit of 1 MiB.
	maxState = 256 << 10
	maxLog   = 256 << 10
	// maxList is how many runs, gates, exceptions and restarts are kept, the last.
	maxList = 128
	maxText = 512
)

// Journal is a rotation's record in the cluster: who, when, which certificates,
// which gates, which exceptions. It is never what the engine goes on from: that
// is the CA Secret itself.
type Journal struct {
	ID       string   `json:"id"`
	Strategy Strategy `json:"strategy"`
	Reason   Reason   `json:"reason,omitempty"`
	// Act is what was done about a CA that cert-manager writes; such a journal is no
	// rotation's, and has no Strategy.
	Act Act `json:"act,omitempty"`
	// Back is true on the way back.
	Back      bool              `json:"back,omitempty"`
	Phase     Phase             `json:"phase"`
	Step      string            `json:"step,omitempty"`
	Started   time.Time         `json:"started"`
	Updated   time.Time         `json:"updated"`
	Holder    string            `json:"holder"`
	OldRoot   Brief             `json:"oldRoot"`
	NewRoot   Brief             `json:"newRoot"`
	OldSigner Brief             `json:"oldSigner"`
	NewSigner Brief             `json:"newSigner"`
	Sealed    string            `json:"sealed,omitempty"`
	Accepted  map[string]string `json:"accepted,omitempty"`
	// Restarted is when istiod was restarted for a step, Published when a step's roots
	// were proven in every trust ConfigMap, Proven when each step's gate first opened;
	// by step, on the cluster's clock.
	Restarted map[string]time.Time `json:"restarted,omitempty"`
	Published map[string]time.Time `json:"published,omitempty"`
	Proven    map[string]time.Time `json:"proven,omitempty"`
	// Replaced are the UIDs of the istiods that ran when their restart was asked for, by
	// step: none of them may be left.
	Replaced map[string][]string `json:"replaced,omitempty"`
	// Traffic is what was counted before the first write.
	Traffic *traffic.Counters `json:"traffic,omitempty"`
	// Runs are those who have worked on it, the first one first.
	Runs []JournalRun `json:"runs,omitempty"`
	// Gates are those that have opened, each as it was the last time.
	Gates []JournalGate `json:"gates,omitempty"`
	// Exceptions are what was unknown and accepted by name, when a gate needed it.
	Exceptions []Exception `json:"exceptions,omitempty"`
	// Restarts are the writes that rolled a workload or istiod.
	Restarts []JournalRestart `json:"restarts,omitempty"`
	// Failure is what the last run ended with, Figures what a finished one took.
	Failure string   `json:"failure,omitempty"`
	Figures *Figures `json:"figures,omitempty"`
}

// JournalRun is one process that worked on a rotation.
type JournalRun struct {
	Holder
	Began time.Time `json:"began"`
}

// JournalGate is a gate that has opened: counts and evidence, without names.
type JournalGate struct {
	Phase      Phase     `json:"phase"`
	Step       string    `json:"step,omitempty"`
	Back       bool      `json:"back,omitempty"` // on the way back
	At         time.Time `json:"at"`
	By         string    `json:"by"`
	Evidence   string    `json:"evidence,omitempty"`
	Replicas   Count     `json:"replicas"`
	ConfigMaps Count     `json:"configMaps"`
	Webhooks   Count     `json:"webhooks"`
	Proxies    Count     `json:"proxies"`
	Listed     bool      `json:"proxiesListedOnly,omitempty"`
	// Accepted is how many unknown objects it opened over.
	Accepted int `json:"accepted,omitempty"`
}

// Exception is an object that could not be seen, and went through on somebody's
// word.
type Exception struct {
	Object string `json:"object"`
	Why    string `json:"why"`
	Reason string `json:"reason"`
	// Fact is what was unknown of it, in the same words each time: another fact about the
	// same object is another exception.
	Fact  string    `json:"fact,omitempty"`
	By    string    `json:"by"`
	At    time.Time `json:"at"`
	Phase Phase     `json:"phase"`
}

// JournalRestart is one write that replaces pods.
type JournalRestart struct {
	At     time.Time `json:"at"`
	Phase  Phase     `json:"phase"`
	Object string    `json:"object"`
}

type journal struct {
	kube      kubernetes.Interface
	namespace string
	now       func() time.Time
	state     Journal
	log       journalLog
	// broken is what stood in the place of a state and could not be read as one.
	broken string
}

// anew has the journal of a rotation of before say nothing of this one's steps: run once
// more with the same files, it has the same ID. Where there is none nothing is written.
func (j *journal) anew(ctx context.Context) error {
	there, err := j.kube.CoreV1().ConfigMaps(j.namespace).Get(ctx, j.name(), metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading configmap %s/%s: %w", j.namespace, j.name(), err)
	}
	before, err := parseJournal(there)
	if err != nil {
		return nil //nolint:nilerr // it says nothing of any step; open keeps it
	}
	before.forget()
	before.Phase, before.Step, before.Sealed, before.Figures = "", "", "", nil
	return (&journal{kube: j.kube, namespace: j.namespace, now: j.now, state: before, log: parseLog(there.Data[logEntry])}).save(ctx)
}

// forget drops what was proven and accepted: on another way it says nothing.
func (s *Journal) forget() {
	s.Restarted, s.Published, s.Proven, s.Accepted, s.Replaced = nil, nil, nil, nil, nil
}

// reopen takes back that a rotation has ended, before it writes again or proves once
// more: what is kept of both CAs is the way back for as long as it has not.
func (s *Journal) reopen(at place, steps []Step) {
	if s.Phase != Done && s.Phase != RolledBack {
		return
	}
	s.Phase, s.Step = Prepare, beginning
	if !at.untouched {
		s.Phase, s.Step = steps[at.step].Phase, steps[at.step].Name
	}
}

// Over reports whether the rotation has ended the way that it went last.
func (s Journal) Over() bool {
	return s.Phase == Done && !s.Back || s.Phase == RolledBack && s.Back
}

// open reads the rotation's journal, or begins it.
func (j *journal) open(ctx context.Context) error {
	maps := j.kube.CoreV1().ConfigMaps(j.namespace)
	there, err := maps.Get(ctx, j.name(), metav1.GetOptions{})
	if err == nil {
		noted := j.log
		j.log = parseLog(there.Data[logEntry])
		for _, line := range noted.lines {
			j.log.add(line)
		}
		before, err := parseJournal(there)
		if err != nil {
			// Nothing goes on from it, and without one nobody could go on at all.
			j.broken = there.Data[stateEntry]
			j.state.Started = j.now()
			j.run()
			return nil //nolint:nilerr // what it said is kept, and who runs it is told
		}
		before.Holder, before.Failure = j.state.Holder, ""
		if before.Back != j.state.Back {
			before.forget()
		}
		before.Phase, before.Step = cmp.Or(before.Phase, j.state.Phase), cmp.Or(before.Step, j.state.Step)
		for object, reason := range j.state.Accepted {
			if before.Accepted == nil {
				before.Accepted = map[string]string{}
			}
			before.Accepted[object] = reason
		}
		// What was noted before the journal was read is the latest.
		for _, g := range j.state.Gates {
			before.opened(g)
		}
		for _, x := range j.state.Exceptions {
			before.excepted(x)
		}
		before.Back = j.state.Back
		j.state = before
		j.run()
		return nil
	}
	if !apierrors.IsNotFound(err) {
		return fmt.Errorf("reading configmap %s/%s: %w", j.namespace, j.name(), err)
	}
	j.state.Started, j.state.Updated = j.now(), j.now()
	j.run()
	data, err := j.data()
	if err != nil {
		return err
	}
	_, err = maps.Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: j.name(), Labels: labels(j.state.ID)}, Data: data}, metav1.CreateOptions{FieldManager: fieldManager})
	if err != nil {
		return fmt.Errorf("making configmap %s/%s: %w", j.namespace, j.name(), err)
	}
	return nil
}

func (j *journal) name() string { return journalPrefix + j.state.ID }

// object names the journal for people.
func (j *journal) object() string { return "configmap " + j.namespace + "/" + j.name() }

func (j *journal) run() {
	j.state.Runs = last(append(j.state.Runs, JournalRun{Holder: ParseHolder(j.state.Holder), Began: j.now()}))
}

func (j *journal) data() (map[string]string, error) {
	state, err := j.state.bounded()
	if err != nil {
		return nil, fmt.Errorf("writing the journal: %w", err)
	}
	data := map[string]string{stateEntry: string(state), logEntry: j.log.String()}
	if j.broken != "" {
		data[brokenEntry] = j.broken[:min(len(j.broken), maxState)]
	}
	return data, nil
}

// bounded is the state as JSON; of lists that are too long the last entries.
func (s Journal) bounded() ([]byte, error) {
	for keep := maxList; ; keep /= 2 {
		s.Runs, s.Gates, s.Restarts = lastOf(s.Runs, keep), lastOf(s.Gates, keep), lastOf(s.Restarts, keep)
		s.Exceptions, s.Accepted = lastOf(s.Exceptions, keep), someOf(s.Accepted, keep)
		raw, err := json.MarshalIndent(s, "", "  ")
		if err != nil || len(raw) <= maxState || keep == 0 {
			return raw, err
		}
	}
}

// note takes what an Event says: a line of the log, and what the state has a
// place for. The next save writes it.
func (j *journal) note(e Event) {
	switch s := &j.state; e.Kind {
	case EventPassed:
		if e.Gate != nil {
			j.passed(e)
		}
	case EventRestart, EventWorkload:
		s.Restarts = last(append(s.Restarts, JournalRestart{At: e.Time, Phase: e.Phase, Object: clipped(e.Object)}))
	case EventFailed:
		s.Failure = clipped(e.Message)
	case EventDone, EventStopped, EventRolledBack:
		s.Failure, s.Figures = "", e.Figures
	}
	j.log.add(clipped(fmt.Sprintf("%s %s %s %s: %s", e.Time.UTC().Format(time.RFC3339), j.state.Holder, e.Kind, e.Phase, e.Message)))
}

func (j *journal) passed(e Event) {
	g := e.Gate
	gate := JournalGate{Phase: e.Phase, Step: e.Step, Back: j.state.Back, At: e.Time, By: j.state.Holder, Evidence: clipped(g.Evidence),
		Replicas: g.Replicas, ConfigMaps: g.ConfigMaps, Webhooks: g.Webhooks, Proxies: g.Proxies, Listed: g.Listed, Accepted: len(g.Accepted)}
	j.state.opened(gate)
	for _, b := range g.Accepted {
		j.state.excepted(Exception{Object: clipped(b.Object), Why: clipped(b.Why), Reason: clipped(j.state.Accepted[b.Object]), Fact: clipped(b.Kind + ": " + b.fact()), By: j.state.Holder, At: e.Time, Phase: e.Phase})
	}
}

// opened keeps a gate as it was the last time.
func (s *Journal) opened(gate JournalGate) {
	s.Gates = last(append(slices.DeleteFunc(s.Gates, func(o JournalGate) bool { return o.Phase == gate.Phase && o.Step == gate.Step && o.Back == gate.Back }), gate))
}

// excepted keeps who accepted an object first, and for which phase.
func (s *Journal) excepted(x Exception) {
	if !slices.ContainsFunc(s.Exceptions, func(o Exception) bool {
		return o.Object == x.Object && o.Phase == x.Phase && o.Reason == x.Reason && o.Fact == x.Fact
	}) {
		s.Exceptions = last(append(s.Exceptions, x))
	}
}

// save writes what is noted. It is read-modify-write of an object that only the
// holder of the Lease writes.
func (j *journal) save(ctx context.Context) error {
	j.state.Updated = j.now()
	data, err := j.data()
	if err != nil {
		return err
	}
	patch, err := json.Marshal(map[string]any{"data": data})
	if err != nil {
		return fmt.Errorf("writing the journal: %w", err)
	}
	_, err = j.kube.CoreV1().ConfigMaps(j.namespace).Patch(ctx, j.name(), "application/merge-patch+json", patch, metav1.PatchOptions{FieldManager: fieldManager})
	if err != nil {
		return fmt.Errorf("writing configmap %s/%s: %w", j.namespace, j.name(), err)
	}
	return nil
}
