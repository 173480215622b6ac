package plugin

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/tui"
	"k8s.io/cli-runtime/pkg/genericiooptions"
)

// unseen is a Backend of a cluster that cannot be read.
type unseen struct {
	tui.Backend
	err error
}

func (b unseen) Look(context.Context, func(int, int)) (*tui.Look, error) { return nil, b.err }

// TestWizardKeepsHints: what ends an error is told where the wizard ends by it.
func TestWizardKeepsHints(t *testing.T) {
	for _, c := range []struct {
		err  error
		want string
	}{
		{new(wizardBackend).problem(found(errors.New("istiods in a and b"), "name one with -i")), "name one with -i"},
		{errors.New("broken"), "'kubectl meshca check' needs no terminal"},
	} {
		streams := genericiooptions.IOStreams{In: strings.NewReader(""), Out: &bytes.Buffer{}, ErrOut: &bytes.Buffer{}}
		err := wizardOn(t.Context(), tui.Options{Backend: unseen{err: c.err}, Now: time.Now}, streams, true)
		if code, hint := codeOf(err); code != ExitError || hint != c.want {
			t.Errorf("it ends with %d, %v, hint %q", code, err, hint)
		}
	}
}
