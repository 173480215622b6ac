package plugin

import (
	"fmt"
	"io"
	"sync"
)

// warnings are what the API server says beside its answers: of a pod's security, of an
// API that will go. client-go writes them into the log, and so across a screen.
type warnings struct {
	mu   sync.Mutex
	out  io.Writer
	said map[string]bool
	held bool
	kept []string // what came while they were held
}

// HandleWarningHeader tells a warning once; 299 is the code of those that are meant to
// be seen (client-go rest/warnings.go, WarningLogger).
func (w *warnings) HandleWarningHeader(code int, _ string, text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if code != 299 || text == "" || w.said[text] {
		return
	}
	if w.said == nil {
		w.said = map[string]bool{}
	}
	w.said[text] = true
	if w.kept = append(w.kept, text); !w.held {
		w.flush()
	}
}

// hold keeps them until a screen is gone again.
func (w *warnings) hold() (release func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.held = true
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.held = false
		w.flush()
	}
}

func (w *warnings) flush() {
	for _, text := range w.kept {
		fmt.Fprintln(w.out, "warning: "+plain(text))
	}
	w.kept = nil
}
