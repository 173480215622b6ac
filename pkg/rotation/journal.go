package rotation

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

const (
	journalPrefix = "meshca-rotation-"
	// maxLog keeps a journal far below an object's limit of 1 MiB.
	maxLog = 256 << 10
)

// Journal is a rotation's record in the cluster: who, when, which certificates,
// which gates, which exceptions. It is never what the engine goes on from: that
// is the CA Secret itself.
type Journal struct {
	ID       string   `json:"id"`
	Strategy Strategy `json:"strategy"`
	Reason   Reason   `json:"reason,omitempty"`
	// Back is true on the way back.
	Back      bool      `json:"back,omitempty"`
	Phase     Phase     `json:"phase"`
	Step      string    `json:"step,omitempty"`
	Started   time.Time `json:"started"`
	Updated   time.Time `json:"updated"`
	Holder    string    `json:"holder"`
	OldRoot   Brief     `json:"oldRoot"`
	NewRoot   Brief     `json:"newRoot"`
	OldSigner Brief     `json:"oldSigner"`
	NewSigner Brief     `json:"newSigner"`
	Sealed    string    `json:"sealed,omitempty"`
	// Restarted is when istiod was restarted for a step, Published when a step's roots
	// were proven in every trust ConfigMap; by step, on the cluster's clock.
	Restarted map[string]time.Time `json:"restarted,omitempty"`
	Published map[string]time.Time `json:"published,omitempty"`
	// Proven is when each step's gate opened.
	Proven   map[string]time.Time `json:"proven,omitempty"`
	Accepted map[string]string    `json:"accepted,omitempty"`
}

type journal struct {
	kube      kubernetes.Interface
	namespace string
	now       func() time.Time
	state     Journal
	log       strings.Builder
}

// open reads the rotation's journal, or begins it.
func (j *journal) open(ctx context.Context) error {
	maps := j.kube.CoreV1().ConfigMaps(j.namespace)
	there, err := maps.Get(ctx, j.name(), metav1.GetOptions{})
	if err == nil {
		var before Journal
		if err := json.Unmarshal([]byte(there.Data["state"]), &before); err != nil {
			return fmt.Errorf("configmap %s/%s: %w", j.namespace, j.name(), err)
		}
		if before.Back != j.state.Back {
			// What was proven on the way there says nothing of the way back.
			before.Restarted, before.Published, before.Proven = nil, nil, nil
		}
		before.Holder, before.Back = j.state.Holder, j.state.Back
		j.state = before
		j.log.WriteString(there.Data["log"])
		return nil
	}
	if !apierrors.IsNotFound(err) {
		return fmt.Errorf("reading configmap %s/%s: %w", j.namespace, j.name(), err)
	}
	j.state.Started, j.state.Updated = j.now(), j.now()
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

func (j *journal) data() (map[string]string, error) {
	state, err := json.MarshalIndent(j.state, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("writing the journal: %w", err)
	}
	return map[string]string{"state": string(state), "log": j.log.String()}, nil
}

// note adds a line to the log; the next save writes it.
func (j *journal) note(e Event) {
	line := fmt.Sprintf("%s %s %s %s: %s\n", e.Time.UTC().Format(time.RFC3339), j.state.Holder, e.Kind, e.Phase, e.Message)
	if j.log.Len()+len(line) < maxLog {
		j.log.WriteString(line)
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
