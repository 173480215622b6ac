package rotation

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
	"pgregory.net/rapid"
)

func newTestJournal(kube *fake.Clientset, holder string, accepted map[string]string) *journal {
	return &journal{kube: kube, namespace: "istio-system", now: func() time.Time { return time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC) },
		state: Journal{ID: "0123456789", Strategy: HotBundle, Phase: Prepare, Holder: holder, Accepted: accepted}}
}

// Another run's journal carries on: gates, exceptions with who accepted them, the
// restarts and the log of before stay, and the second holder is a second run.
func TestJournalCarriesOn(t *testing.T) {
	ctx, kube := context.Background(), fake.NewClientset()
	first := newTestJournal(kube, "ann@one/1", map[string]string{"a/x": "its node is gone"})
	at := first.now()
	unknown := Blocker{Kind: "proxy", Object: "a/x", Why: "unreadable", Unknown: true}
	first.note(Event{Time: at, Kind: EventPassed, Phase: Prepare, Step: "start", Gate: &Status{Proxies: Count{3, 4}, Evidence: "answer", Accepted: []Blocker{unknown}}, Message: "proven"})
	if err := first.open(ctx); err != nil {
		t.Fatal(err)
	}
	first.note(Event{Time: at, Kind: EventRestart, Phase: SwapTrust, Object: "deployment istio-system/istiod"})
	first.note(Event{Time: at, Kind: EventFailed, Phase: SwapTrust, Message: "killed"})
	if err := first.save(ctx); err != nil {
		t.Fatal(err)
	}

	second := newTestJournal(kube, "bob@two/2", map[string]string{"b/y": "another word"})
	if err := second.open(ctx); err != nil {
		t.Fatal(err)
	}
	if s := second.state; s.Failure != "" || len(s.Runs) != 2 || s.Runs[1].Host != "two" || s.Accepted["a/x"] == "" || s.Accepted["b/y"] == "" {
		t.Errorf("%+v", s)
	}
	second.note(Event{Time: at, Kind: EventPassed, Phase: Prepare, Step: "start", Gate: &Status{Proxies: Count{4, 4}}})
	second.note(Event{Time: at, Kind: EventDone, Figures: &Figures{Engine: 4.4}})
	if err := second.save(ctx); err != nil {
		t.Fatal(err)
	}
	all, err := Journals(ctx, kube, "istio-system")
	if err != nil || len(all) != 1 {
		t.Fatalf("%d journals: %v", len(all), err)
	}
	j := all[0]
	if len(j.Gates) != 1 || j.Gates[0].Proxies != (Count{4, 4}) || j.Gates[0].By != "bob@two/2" {
		t.Errorf("gates %+v", j.Gates)
	}
	if len(j.Exceptions) != 1 || j.Exceptions[0].By != "ann@one/1" || j.Exceptions[0].Reason != "its node is gone" || !j.Exceptions[0].At.Equal(at) {
		t.Errorf("exceptions %+v", j.Exceptions)
	}
	if len(j.Restarts) != 1 || j.Figures == nil {
		t.Errorf("restarts %+v, figures %+v", j.Restarts, j.Figures)
	}
	if text := second.log.String(); strings.Count(text, "\n") != 5 || !strings.Contains(text, "ann@one/1 failed") || !strings.Contains(text, "bob@two/2 done") {
		t.Errorf("log:\n%s", text)
	}
}

// Whatever is noted, a journal stays far below 1 MiB and can be read again, and
// what is dropped is counted.
func TestJournalIsBounded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		j := newTestJournal(nil, "ann@one/1", map[string]string{})
		text := strings.Repeat(rapid.StringN(1, 40, -1).Draw(t, "text"), rapid.IntRange(1, 200).Draw(t, "times"))
		n := rapid.IntRange(0, 400).Draw(t, "events")
		for i := range n {
			name := fmt.Sprint(i) + text
			j.state.Accepted[name] = text
			j.note(Event{Kind: EventPassed, Phase: Phase(fmt.Sprint(i)), Step: "s", Message: text, Gate: &Status{Evidence: text, Accepted: []Blocker{{Object: name, Why: text}}}})
			j.note(Event{Kind: EventRestart, Object: name})
		}
		data, err := j.data()
		if err != nil {
			t.Fatal(err)
		}
		if size := len(data[stateEntry]) + len(data[logEntry]); size > maxState+maxLog {
			t.Fatalf("%d bytes", size)
		}
		again := parseLog(data[logEntry])
		if again.String() != data[logEntry] {
			t.Fatal("the log is another after it was read")
		}
		if got := len(again.lines) + again.dropped; got != 2*n {
			t.Fatalf("%d lines of %d are accounted for", got, 2*n)
		}
		if !utf8.ValidString(clipped(text)) || len(clipped(text)) > maxText {
			t.Fatalf("clipped to %d bytes", len(clipped(text)))
		}
	})
}

// One journal that somebody has broken does not hide the others.
func TestJournalsBroken(t *testing.T) {
	ctx, kube := context.Background(), fake.NewClientset()
	good := newTestJournal(kube, "ann@one/1", nil)
	bad := newTestJournal(kube, "ann@one/1", nil)
	bad.state.ID = "ffffffffff"
	if err := errors.Join(good.open(ctx), bad.open(ctx)); err != nil {
		t.Fatal(err)
	}
	patch := []byte(`{"data":{"state":"{"}}`)
	if _, err := kube.CoreV1().ConfigMaps("istio-system").Patch(ctx, bad.name(), "application/merge-patch+json", patch, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	all, err := Journals(ctx, kube, "istio-system")
	if len(all) != 1 || err == nil || !strings.Contains(err.Error(), "meshca-rotation-ffffffffff") {
		t.Errorf("%d journals, %v", len(all), err)
	}
}
