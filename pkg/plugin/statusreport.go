package plugin

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/rotation"
)

// rotationState is what "status" answers in one word.
type rotationState string

const (
	stateNone       rotationState = "none"        // no rotation is remembered
	stateRunning    rotationState = "running"     // its holder is alive
	stateUnfinished rotationState = "unfinished"  // nobody runs it
	stateDone       rotationState = "done"        // the old CA is still kept
	stateRetired    rotationState = "retired"     // and now it is not
	stateBack       rotationState = "rolled-back" // the old CA is the mesh's again
	stateUnknown    rotationState = "unknown"     // none was seen, and not all could be read
)

// standing is what was read for one look.
type standing struct {
	snapshot  *mesh.Snapshot
	namespace string
	plan      *rotation.Plan
	staged    *rotation.Staged
	at        rotation.Standing
	lease     *rotation.LeaseState
	journals  []rotation.Journal
	now       time.Time

	// refusal is why it does not go on as the mesh is, where no way on could be laid out.
	refusal *rotation.Refusal

	stagedError, leaseError, journalError, placeError string
	// refused are the verbs and resources that the API server did not allow.
	refused []string
}

// statusReport is the result of "status".
type statusReport struct {
	APIVersion string        `json:"apiVersion"`
	Kind       string        `json:"kind"`
	At         time.Time     `json:"at"`
	State      rotationState `json:"state"`
	Namespace  string        `json:"namespace"`
	// Phase and Step are those that the CA Secret holds, or where that cannot be
	// told the journal's; Written of Steps are written.
	Phase   rotation.Phase `json:"phase,omitempty"`
	Step    string         `json:"step,omitempty"`
	Written int            `json:"written"`
	Steps   int            `json:"steps,omitempty"`
	// Lease is who runs it, or who has died over it.
	Lease    *rotation.LeaseState `json:"lease,omitempty"`
	Rotation *rotation.Journal    `json:"rotation,omitempty"`
	// Gate is the gate of this phase as it would be now, without a throw-away
	// request to istiods; Missing are those who keep it closed.
	Gate    *rotation.Status `json:"gate,omitempty"`
	Missing []missing        `json:"missing,omitempty"`
	// ETA is when the last of them follows by itself, where that can be told.
	ETA    time.Time `json:"eta,omitzero"`
	ETAWhy string    `json:"etaWhy,omitempty"`
	Back   wayBack   `json:"back"`
	Next   string    `json:"next,omitempty"`
	// Refused is why it does not go on as the mesh is.
	Refused string `json:"refused,omitempty"`
	// Errors are the parts that could not be read.
	Errors []string `json:"errors,omitempty"`
}

// missing is one object that has not followed, and by when it does.
type missing struct {
	rotation.Blocker
	Reach mesh.Reach `json:"reach,omitempty"`
	ETA   time.Time  `json:"eta,omitzero"`
}

// wayBack says whether one can go back, and by way of which phases.
type wayBack struct {
	Possible bool             `json:"possible"`
	Why      string           `json:"why"`
	Phases   []rotation.Phase `json:"phases,omitempty"`
}

// newStatusReport is pure.
func newStatusReport(s standing) *statusReport {
	r := &statusReport{APIVersion: mesh.APIVersion, Kind: "RotationStatus", At: s.snapshot.TakenAt, Namespace: s.namespace, Lease: s.lease, Rotation: s.journal()}
	for _, e := range []string{s.stagedError, s.leaseError, s.journalError, s.placeError} {
		if e != "" {
			r.Errors = append(r.Errors, e)
		}
	}
	r.State = s.state(r.Rotation)
	if s.refusal != nil && r.State == stateUnfinished {
		r.Refused = fmt.Sprintf("it does not go on as the mesh is: %s: %s", s.refusal.Object, s.refusal.Why)
	}
	if j := r.Rotation; j != nil {
		r.Phase, r.Step = j.Phase, j.Step
	}
	if s.plan != nil && s.placeError == "" && len(s.plan.Steps) > 0 {
		r.Written, r.Steps = s.at.Written, s.at.Of
		switch {
		case r.State == stateDone:
			r.Phase, r.Step = rotation.Done, ""
		case r.State == stateBack:
			r.Phase, r.Step = rotation.RolledBack, ""
		case s.at.Step != nil:
			r.Phase, r.Step = s.at.Step.Phase, s.at.Step.Name
		default:
			r.Phase, r.Step = rotation.Prepare, "start"
		}
		r.gate(s)
	}
	r.Back = s.back(r)
	r.Next = s.next(r)
	return r
}

// journal is that of the rotation whose CAs are kept, else the last one.
func (s standing) journal() *rotation.Journal {
	if s.staged != nil {
		i := slices.IndexFunc(s.journals, func(j rotation.Journal) bool { return j.ID == s.staged.ID })
		if i < 0 { // killed between the two writes
			return &rotation.Journal{ID: s.staged.ID, Strategy: s.staged.Strategy, Phase: rotation.Prepare}
		}
		return &s.journals[i]
	}
	if len(s.journals) == 0 {
		return nil
	}
	return &s.journals[len(s.journals)-1]
}

func (s standing) state(j *rotation.Journal) rotationState {
	switch {
	case s.lease != nil && s.lease.Alive:
		return stateRunning
	case j == nil && (s.leaseError != "" || s.journalError != "" || s.stagedError != ""):
		return stateUnknown // what was not read may hold one
	case j == nil:
		return stateNone
	case j.Phase == rotation.RolledBack:
		return stateBack
	case j.Phase != rotation.Done:
		return stateUnfinished
	case s.staged != nil || s.stagedError != "":
		return stateDone
	}
	return stateRetired
}

// gate judges the mesh as the gate of this phase does.
func (r *statusReport) gate(s standing) {
	var accept map[string]string
	if r.Rotation != nil {
		accept = r.Rotation.Accepted
	}
	status := s.plan.Expected(s.at, false).Judge(s.snapshot, accept)
	r.Gate = &status
	proxies := map[string]mesh.Proxy{}
	for _, p := range s.snapshot.Proxies {
		proxies[p.Ref()] = p
	}
	untold := 0
	for _, b := range status.Blockers {
		m := missing{Blocker: b}
		p, ok := proxies[b.Object]
		if ok && b.Kind == "proxy" {
			m.Reach = p.Reach
			if !b.Unknown {
				m.ETA = follows(p, s.snapshot.TakenAt)
			}
		}
		if m.ETA.IsZero() {
			untold++
		} else if m.ETA.After(r.ETA) {
			r.ETA = m.ETA
		}
		r.Missing = append(r.Missing, m)
	}
	switch {
	case untold > 0:
		r.ETA, r.ETAWhy = time.Time{}, fmt.Sprintf("of %d in the way it cannot be told when they follow", untold)
	case !r.ETA.IsZero():
		r.ETAWhy = "by when the last certificate is renewed"
	}
}

// follows is when a proxy is due by itself: at once by push, with its next leaf by
// renewal, which agents ask for when the share GraceRatio of its life is left; zero
// where nothing says it.
func follows(p mesh.Proxy, now time.Time) time.Time {
	switch p.Reach {
	case mesh.ReachPush:
		return now
	case mesh.ReachRenewal:
	default:
		return time.Time{}
	}
	var due time.Time
	if p.Loaded == nil {
		return due
	}
	for _, i := range p.Loaded.Identities {
		leaf := i.Leaf()
		if leaf == nil || leaf.X509 == nil {
			return time.Time{}
		}
		ratio := p.GraceRatio
		if ratio <= 0 || ratio >= 1 {
			ratio = 0.5
		}
		life := leaf.X509.NotAfter.Sub(leaf.X509.NotBefore)
		if at := leaf.X509.NotAfter.Add(-time.Duration(ratio * float64(life))); at.After(due) {
			due = at
		}
	}
	if due.Before(now) {
		return now // late: any moment
	}
	return due.UTC()
}

func (s standing) back(r *statusReport) wayBack {
	switch {
	case r.State == stateNone || r.State == stateRetired && r.Rotation == nil:
		return wayBack{Why: "there is nothing to go back from"}
	case s.stagedError != "":
		return wayBack{Why: "whether the old CA is kept cannot be told: " + s.stagedError}
	case r.State == stateUnknown:
		return wayBack{Why: "no old CA is kept in the cluster"}
	case s.staged == nil:
		return wayBack{Why: "the old CA is kept no more: only a sealed copy has it ('kubectl meshca restore')"}
	}
	if s.plan != nil && !s.plan.OldRoot.NotAfter.IsZero() && s.snapshot.TakenAt.After(s.plan.OldRoot.NotAfter) {
		return wayBack{Why: "the old root expired at " + stamp(s.plan.OldRoot.NotAfter)}
	}
	back := wayBack{Possible: true, Why: "secret " + s.namespace + "/meshca-staged holds the old CA as it was"}
	if r.State == stateBack {
		return wayBack{Why: "it is rolled back already"}
	}
	back.Phases = s.at.Back
	return back
}

func (s standing) next(r *statusReport) string {
	switch {
	case r.State == stateRunning:
		return "kubectl meshca status --watch"
	case r.State == stateUnknown && len(s.refused) > 0:
		return fmt.Sprintf("ask for a role that may %s in namespace %s: 'kubectl meshca rbac --for read -i %s' prints it", strings.Join(s.refused, ", "), s.namespace, s.namespace)
	case r.State == stateUnknown:
		return "mend what is named as not read, and look again"
	case s.placeError != "":
		return "find out who wrote the CA secret: a rotation goes on only from what it has written"
	case r.State == stateUnfinished && s.staged == nil && s.stagedError == "":
		return "kubectl meshca verify"
	case r.State == stateUnfinished && r.Rotation != nil && r.Rotation.Back:
		return "kubectl meshca rollback"
	case r.State == stateUnfinished && s.refusal != nil:
		return s.refusal.Hint
	case r.State == stateUnfinished:
		return "kubectl meshca rotate"
	case r.State == stateDone, r.State == stateBack && s.staged != nil:
		return "kubectl meshca retire"
	}
	return "kubectl meshca check" // and then a plan: which CA comes, somebody has to say
}

func (r *statusReport) underWay() bool { return r.State == stateRunning || r.State == stateUnfinished }

func (r *statusReport) failure() error {
	switch {
	case r.State == stateUnknown:
		return failed(fmt.Errorf("it cannot be told whether a rotation is under way: %s", strings.Join(r.Errors, "; ")), r.Next)
	case !r.underWay():
		return nil
	}
	return found(fmt.Errorf("a rotation is %s", r.State), r.Next)
}

// essence is what a watch compares: all but the clock.
func (r *statusReport) essence() string {
	c := *r
	c.At, c.ETA = time.Time{}, time.Time{}
	if r.Lease != nil {
		lease := *r.Lease
		lease.Renewed, lease.Until = time.Time{}, time.Time{}
		c.Lease = &lease
	}
	if r.Rotation != nil {
		j := *r.Rotation
		j.Updated = time.Time{}
		c.Rotation = &j
	}
	if r.Gate != nil {
		gate := *r.Gate
		gate.At = time.Time{}
		c.Gate = &gate
	}
	c.Missing = slices.Clone(r.Missing)
	for i := range c.Missing {
		c.Missing[i].ETA = time.Time{}
	}
	raw, err := json.Marshal(c)
	if err != nil {
		return err.Error()
	}
	return string(raw)
}

// shownMissing is how many rows the table gives to those who are missing.
const shownMissing = 10

func (r *statusReport) rows(wide bool) [][]string {
	rows := [][]string{{"state", r.summary()}}
	if j := r.Rotation; j != nil {
		rows = append(rows, []string{"rotation", fmt.Sprintf("%s, %s, begun %s, journal of %s", j.ID, cmp.Or(string(j.Strategy), "no strategy"), cmp.Or(stamp(j.Started), "at an unknown time"), cmp.Or(stamp(j.Updated), "an unknown time"))})
		if j.OldRoot.Subject != "" {
			rows = append(rows, []string{"old root", j.OldRoot.Subject + "  " + j.OldRoot.Fingerprint.Short() + "  until " + stamp(j.OldRoot.NotAfter)},
				[]string{"new root", j.NewRoot.Subject + "  " + j.NewRoot.Fingerprint.Short() + "  until " + stamp(j.NewRoot.NotAfter)})
		}
	}
	rows = append(rows, []string{"holder", r.holder()})
	if j := r.Rotation; j != nil {
		for _, g := range j.Gates {
			which := "gate " + string(g.Phase)
			if g.Step != "" && g.Step != string(g.Phase) {
				which += ", " + g.Step
			}
			if g.Back {
				which += " (way back)"
			}
			rows = append(rows, []string{which, fmt.Sprintf("opened %s: %s", stamp(g.At), counts(g.Proxies, g.Listed, g.Replicas, g.ConfigMaps, g.Webhooks, g.Evidence))})
		}
		for _, x := range j.Exceptions {
			rows = append(rows, []string{"accepted", fmt.Sprintf("%s by %s at %s (%s): %s", x.Object, x.By, stamp(x.At), x.Why, x.Reason)})
		}
		if wide {
			for _, run := range j.Runs {
				rows = append(rows, []string{"run", run.String() + " from " + stamp(run.Began)})
			}
			for _, x := range j.Restarts {
				rows = append(rows, []string{"restart", x.Object + " at " + stamp(x.At)})
			}
		}
		if j.Failure != "" {
			rows = append(rows, []string{"last failure", j.Failure})
		}
	}
	if g := r.Gate; g != nil {
		word := "closed: "
		if g.Open() {
			word = "open: "
		}
		rows = append(rows, []string{"gate now", word + counts(g.Proxies, g.Listed, g.Replicas, g.ConfigMaps, g.Webhooks, g.Evidence)})
		for i, m := range r.Missing {
			if i == shownMissing && !wide {
				rows = append(rows, []string{"", fmt.Sprintf("and %d more (-o wide)", len(r.Missing)-i)})
				break
			}
			text := m.String()
			if !m.ETA.IsZero() {
				text += fmt.Sprintf(" (%s, due %s)", m.Reach, stamp(m.ETA))
			} else if m.Reach != "" {
				text += fmt.Sprintf(" (%s)", m.Reach)
			}
			rows = append(rows, []string{"missing", text})
		}
		if r.ETAWhy != "" {
			rows = append(rows, []string{"eta", strings.TrimSpace(stamp(r.ETA) + " " + r.ETAWhy)})
		}
	}
	back := "no: "
	if r.Back.Possible {
		back = "yes: "
	}
	if len(r.Back.Phases) > 0 {
		back = "yes, by way of " + strings.Join(names(r.Back.Phases), ", ") + ": "
	}
	rows = append(rows, []string{"way back", back + r.Back.Why})
	if r.Refused != "" {
		rows = append(rows, []string{"refused", r.Refused})
	}
	for _, e := range r.Errors {
		rows = append(rows, []string{"not read", e})
	}
	return append(rows, []string{"next", r.Next})
}

func (r *statusReport) summary() string {
	text := map[rotationState]string{
		stateNone: "no rotation is under way, and none is remembered", stateRunning: "a rotation runs", stateUnfinished: "a rotation is unfinished, and nobody runs it",
		stateDone: "the rotation is done; the old CA is still kept", stateBack: "the rotation is rolled back: the old CA is the mesh's again",
		stateRetired: "no rotation is under way; the last one is done and retired",
		stateUnknown: "no rotation was seen, and not all could be read that would show one",
	}[r.State]
	if r.Phase != "" {
		text += ": phase " + string(r.Phase)
		if r.Step != "" && r.underWay() {
			text += " (" + r.Step + ")"
		}
	}
	if r.Steps > 0 {
		text += fmt.Sprintf(", %d of %d writes made", r.Written, r.Steps)
	}
	return text
}

func (r *statusReport) holder() string {
	switch {
	case r.Lease == nil:
		return "nobody"
	case r.Lease.Alive:
		return r.Lease.String()
	}
	return r.Lease.String() + ": dead, anybody may go on"
}

func counts(proxies rotation.Count, listed bool, replicas, configMaps, webhooks rotation.Count, evidence string) string {
	return rotation.Status{Proxies: proxies, Listed: listed, Replicas: replicas, ConfigMaps: configMaps, Webhooks: webhooks, Evidence: cmp.Or(evidence, "no evidence")}.Counts()
}

func (r *statusReport) names() []string {
	if r.Phase == "" {
		return []string{string(r.State)}
	}
	return []string{string(r.State) + "/" + string(r.Phase)}
}

// historyReport is the result of "status --all".
type historyReport struct {
	APIVersion string             `json:"apiVersion"`
	Kind       string             `json:"kind"`
	Items      []rotation.Journal `json:"items"`
}

func (r *historyReport) rows(wide bool) [][]string {
	rows := [][]string{{"ROTATION", "STRATEGY", "PHASE", "BEGUN", "LAST WRITE", "OLD ROOT", "NEW ROOT", "BY"}}
	if wide {
		rows[0] = append(rows[0], "GATES", "EXCEPTIONS", "RUNS", "LAST ENGINE", "LAST WAITS")
	}
	for _, j := range r.Items {
		row := []string{j.ID, cmp.Or(string(j.Strategy), "cert-manager "+string(j.Act)), string(j.Phase), stamp(j.Started), stamp(j.Updated),
			j.OldRoot.Subject + " " + j.OldRoot.Fingerprint.Short(), j.NewRoot.Subject + " " + j.NewRoot.Fingerprint.Short(), rotation.ParseHolder(j.Holder).String()}
		if wide {
			engine, waits := "", ""
			if f := j.Figures; f != nil {
				engine, waits = fmt.Sprintf("%.1f s", f.Engine), fmt.Sprintf("%.1f s", f.Waits)
			}
			row = append(row, fmt.Sprint(len(j.Gates)), fmt.Sprint(len(j.Exceptions)), fmt.Sprint(len(j.Runs)), engine, waits)
		}
		rows = append(rows, row)
	}
	return rows
}

func (r *historyReport) names() []string {
	var all []string
	for _, j := range r.Items {
		all = append(all, j.ID)
	}
	return all
}
