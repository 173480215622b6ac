package plugin

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/pki"
	"github.com/meshca/kubectl-meshca/pkg/rotation"
	corev1 "k8s.io/api/core/v1"
)

// restoreReport is the result of "restore": fingerprints, never keys.
type restoreReport struct {
	APIVersion string        `json:"apiVersion"`
	Kind       string        `json:"kind"`
	TakenAt    time.Time     `json:"takenAt,omitzero"`
	Warning    string        `json:"warning,omitempty"`
	Items      []restoreItem `json:"items"`
	Next       string        `json:"next,omitempty"`
}

type restoreItem struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	Type      string `json:"type,omitempty"`
	TypeNow   string `json:"typeNow,omitempty"`
	Same      bool   `json:"same"`
	Absent    bool   `json:"absent,omitempty"`
	// Copy is what is sealed, Now what the cluster holds.
	Copy    backupItem   `json:"copy"`
	Now     backupItem   `json:"now"`
	Entries []entryState `json:"entries"`
	// Risks are those who would refuse each other after the write.
	Risks  []rotation.Blocker `json:"risks,omitempty"`
	Result string             `json:"result,omitempty"`

	copy  rotation.SecretCopy
	there *corev1.Secret
}

// entryState is one entry of a Secret: certificates by fingerprint, of a key only
// whose it is.
type entryState struct {
	Name  string `json:"name"`
	State string `json:"state"` // same, differs, only in the copy, only in the cluster
	Copy  string `json:"copy,omitempty"`
	Now   string `json:"now,omitempty"`
}

func (i restoreItem) ref() string  { return i.Namespace + "/" + i.Name }
func (i restoreItem) staged() bool { _, ok := i.copy.Source(); return !ok }

func differences(sealed, now map[string][]byte) []entryState {
	names := map[string]bool{}
	for name := range sealed {
		names[name] = true
	}
	for name := range now {
		names[name] = true
	}
	var all []entryState
	for _, name := range slices.Sorted(maps.Keys(names)) {
		a, inCopy := sealed[name]
		b, inCluster := now[name]
		e := entryState{Name: name, Copy: content(a), Now: content(b), State: "differs"}
		switch {
		case !inCluster:
			e.State = "only in the copy"
		case !inCopy:
			e.State = "only in the cluster"
		case bytes.Equal(a, b):
			e.State = "same"
		}
		all = append(all, e)
	}
	return all
}

// content says what an entry is without repeating any of it: what is neither
// certificates nor a key is only counted.
func content(raw []byte) string {
	if len(raw) == 0 {
		return ""
	}
	if bundle, err := pki.ParseBundle(raw); err == nil {
		var all []string
		for _, c := range bundle.Certs {
			all = append(all, c.Fingerprint().Short())
		}
		return strings.Join(all, " ")
	}
	if key, err := pki.ParseKey(raw); err == nil {
		return "a key, " + pki.KeyAlgorithm(key.Public())
	}
	return fmt.Sprintf("%d bytes", len(raw))
}

func (r *restoreReport) rows(wide bool) [][]string {
	var rows [][]string
	for _, item := range r.Items {
		if len(item.Entries) > 0 && (wide || !item.Same) {
			rows = append(rows, item.rows()...)
		} else {
			rows = append(rows, []string{item.ref() + ": nothing differs"})
		}
	}
	if r.Warning != "" {
		rows = append(rows, []string{"warning: " + r.Warning})
	}
	if r.Next != "" {
		rows = append(rows, []string{"next: " + r.Next})
	}
	return rows
}

func (i restoreItem) rows() [][]string {
	state := "differs"
	switch {
	case i.Same:
		state = "nothing differs"
	case i.Absent:
		state = "it is not there"
	case i.Type != "" && i.Type != i.TypeNow:
		state = fmt.Sprintf("it is of another type, %s and not %s", i.TypeNow, i.Type)
	}
	rows := [][]string{{cmp.Or(i.Result, state) + ": " + i.ref()}, {"  ENTRY", "STATE", "IN THE COPY", "IN THE CLUSTER"}}
	for _, e := range i.Entries {
		rows = append(rows, []string{"  " + e.Name, e.State, e.Copy, e.Now})
	}
	for n, risk := range i.Risks {
		if n == 5 {
			rows = append(rows, []string{fmt.Sprintf("  and %d more risks (-o json has them all)", len(i.Risks)-n)})
			break
		}
		rows = append(rows, []string{"  risk: " + risk.String()})
	}
	return rows
}

func (r *restoreReport) names() []string {
	var all []string
	for _, item := range r.Items {
		all = append(all, item.ref())
	}
	return all
}
