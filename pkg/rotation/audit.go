package rotation

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"
	"unicode"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

const (
	// auditTimeout bounds one request: an audit trail never holds a rotation up.
	auditTimeout = 2 * time.Second
	// maxNote is the bound of an event's note (Kubernetes 1.36
	// pkg/apis/core/validation/events.go:38, NoteLengthLimit).
	maxNote = 1024
)

// Audit writes Kubernetes Events about the CA Secret for what a rotation does:
// its beginning, every write, restart, opened gate and accepted exception, and how
// it ended. It observes Events; the journal stays when Kubernetes has long
// forgotten these (an hour, by default).
type Audit struct {
	Kube   kubernetes.Interface
	Holder string
	// Warn is told once where events cannot be written; that is no failure.
	Warn func(Event)

	plan   *Plan
	begun  bool
	off    bool // for good: it is forbidden
	warned bool
	count  int
	said   map[string]bool // exceptions
}

// Then observes before next does.
func (a *Audit) Then(next func(Event)) func(Event) {
	return func(e Event) {
		a.Note(e)
		next(e)
	}
}

// Restored notes that a CA Secret was written back from a sealed copy, and whom the
// operator let stay unknown, each with the reason. It is for an Audit of its own.
func (a *Audit) Restored(at time.Time, s SecretCopy, accepted ...string) {
	a.plan = &Plan{ID: "restore", Namespace: s.Namespace, Secret: s.Name}
	what := "what no istiod signs with"
	if source, ok := s.Source(); ok && len(source.Cert.Certs) > 0 {
		cert := source.Cert.Certs[0]
		what = fmt.Sprintf("signer %s (%s)", cert.Fingerprint().Short(), cert.Subject())
	}
	if len(accepted) > 0 {
		what += "; accepted unseen: " + strings.Join(accepted, ", ")
	}
	a.write(at, corev1.EventTypeWarning, "CARestored", fmt.Sprintf("%s wrote the secret back from a sealed copy: %s", ParseHolder(a.Holder), what))
}

// Note writes what an Event says, if it belongs to the audit trail. It knows the
// rotation from the Event that carries the plan.
func (a *Audit) Note(e Event) {
	if e.Plan != nil {
		a.plan, a.begun, a.said = e.Plan, false, map[string]bool{}
	}
	if a.plan == nil || a.plan.Secret == "" || e.Kind == EventPlan {
		return
	}
	if !a.begun && e.Kind != EventFailed && e.Kind != EventWarning {
		a.begun = true
		p := a.plan
		a.write(e.Time, corev1.EventTypeNormal, "RotationBegins", fmt.Sprintf("%s: root %s (%s) to %s (%s), signer %s (%s) to %s (%s)", p.Strategy,
			p.OldRoot.Fingerprint.Short(), p.OldRoot.Subject, p.NewRoot.Fingerprint.Short(), p.NewRoot.Subject,
			p.OldSigner.Fingerprint.Short(), p.OldSigner.Subject, p.NewSigner.Fingerprint.Short(), p.NewSigner.Subject))
	}
	where := string(e.Phase)
	switch e.Kind {
	case EventWrite:
		a.write(e.Time, corev1.EventTypeNormal, "RotationWrites", fmt.Sprintf("%s: %s: %s", where, e.Object, e.Message))
	case EventRestart, EventWorkload:
		a.write(e.Time, corev1.EventTypeNormal, "RotationRestarts", fmt.Sprintf("%s: %s: %s", where, e.Object, e.Message))
	case EventPassed:
		a.write(e.Time, corev1.EventTypeNormal, "RotationGatePassed", fmt.Sprintf("%s: %s", where, e.Message))
		a.exceptions(e)
	case EventResume:
		a.write(e.Time, corev1.EventTypeNormal, "RotationResumes", e.Message)
	case EventStopped:
		a.write(e.Time, corev1.EventTypeNormal, "RotationStopped", e.Message)
	case EventRolledBack:
		a.write(e.Time, corev1.EventTypeNormal, "RotationRolledBack", fmt.Sprintf("%s; root %s", e.Message, a.plan.OldRoot.Fingerprint))
	case EventDone:
		a.write(e.Time, corev1.EventTypeNormal, "RotationDone", fmt.Sprintf("%s; root %s", e.Message, a.plan.NewRoot.Fingerprint))
	case EventFailed:
		a.write(e.Time, corev1.EventTypeWarning, "RotationFailed", fmt.Sprintf("%s: %s", where, e.Message))
	case EventPlan, EventPhase, EventGate, EventNudge, EventWait, EventWarning:
	default:
		// A kind that this file does not know, such as a way back, belongs here too.
		a.write(e.Time, corev1.EventTypeNormal, "Rotation"+reason(e.Kind), fmt.Sprintf("%s: %s", where, e.Message))
	}
}

func (a *Audit) exceptions(e Event) {
	if e.Gate == nil {
		return
	}
	for _, b := range e.Gate.Accepted {
		if key := b.Object + " " + string(e.Phase); !a.said[key] {
			a.said[key] = true
			a.write(e.Time, corev1.EventTypeWarning, "RotationAccepts", fmt.Sprintf("%s: %s accepts what is not known: %s", e.Phase, ParseHolder(a.Holder), b))
		}
	}
}

func (a *Audit) write(at time.Time, kind, reason, message string) {
	if a.off {
		return
	}
	a.count++
	p := a.plan
	event := &corev1.Event{
		ObjectMeta:     metav1.ObjectMeta{Namespace: p.Namespace, Name: fmt.Sprintf("%s%s.%x.%d", journalPrefix, p.ID, at.UnixNano(), a.count), Labels: labels(p.ID)},
		InvolvedObject: corev1.ObjectReference{APIVersion: "v1", Kind: "Secret", Namespace: p.Namespace, Name: p.Secret},
		Type:           kind, Reason: reason, Action: reason, Message: note(fmt.Sprintf("%s: %s", p.ID, message)),
		Count: 1, FirstTimestamp: metav1.NewTime(at), LastTimestamp: metav1.NewTime(at), EventTime: metav1.NewMicroTime(at),
		Source: corev1.EventSource{Component: fieldManager}, ReportingController: "meshca.io/rotation", ReportingInstance: instance(a.Holder),
	}
	ctx, cancel := context.WithTimeout(context.Background(), auditTimeout)
	defer cancel()
	if _, err := a.Kube.CoreV1().Events(p.Namespace).Create(ctx, event, metav1.CreateOptions{FieldManager: fieldManager}); err != nil {
		a.off = apierrors.IsForbidden(err) // an API server that restarts comes back
		if !a.warned && a.Warn != nil {
			a.warned = true
			a.Warn(Event{Time: at, Kind: EventWarning, Object: "events", Message: "not every step gets a Kubernetes Event, the journal has them all: " + err.Error()})
		}
	}
}

// instance is a holder within the bound of its field, 128 bytes.
func instance(holder string) string {
	holder = clipped(holder)
	return cmp.Or(strings.ToValidUTF8(holder[:min(len(holder), 128)], ""), "unknown")
}

func reason(kind EventKind) string {
	var word strings.Builder
	for i, r := range string(kind) {
		if i == 0 {
			r = unicode.ToUpper(r)
		}
		if unicode.IsLetter(r) && r < unicode.MaxASCII {
			word.WriteRune(r)
		}
	}
	return word.String()
}

// note makes text one line within the API's bound: names of certificates are
// anybody's words, and kubectl prints them as they are.
func note(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) {
			return ' '
		}
		return r
	}, s)
	if len(s) > maxNote {
		s = strings.ToValidUTF8(s[:maxNote-len("…")], "") + "…"
	}
	return s
}
