package plugin

import (
	"strings"
	"testing"
	"time"

	"k8s.io/cli-runtime/pkg/genericiooptions"
)

// TestOldSnapshotIsToldAsOld: a verdict from a file is of when that was taken, and verify
// and envoy say no other time: what was proven last year is not proven now.
func TestOldSnapshotIsToldAsOld(t *testing.T) {
	for _, test := range []struct {
		age  time.Duration
		want string
	}{
		{time.Minute, ""},
		{-time.Hour, ""}, // another machine's clock
		{3 * time.Hour, "note: - was taken 3h ago, at "},
		{400 * 24 * time.Hour, "note: - was taken 400 days ago, at "},
	} {
		streams, in, _, said := genericiooptions.NewTestIOStreams()
		in.WriteString(`{"apiVersion": "meshca.io/v1alpha1", "kind": "Snapshot", "takenAt": "` + time.Now().Add(-test.age).Format(time.RFC3339Nano) + `"}`)
		if _, err := (&meshFlags{}).saved("-", streams); err != nil {
			t.Fatal(err)
		}
		if got := said.String(); !strings.HasPrefix(got, test.want) || test.want == "" && got != "" {
			t.Errorf("of one taken %s ago it says %q, not %q", test.age, got, test.want)
		}
	}
}
