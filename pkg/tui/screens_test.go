package tui

import (
	"cmp"
	"fmt"
	"html"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	tea "github.com/charmbracelet/bubbletea"
	"github.com/charmbracelet/x/ansi"
	"github.com/muesli/termenv"
)

// TestScreens draws the scenes that the README shows into docs/screens, where
// MESHCA_SCREENS is set ("make screens").
func TestScreens(t *testing.T) {
	if os.Getenv("MESHCA_SCREENS") == "" {
		t.Skip("MESHCA_SCREENS is not set")
	}
	folder := filepath.Join("..", "..", "docs", "screens")
	if err := os.MkdirAll(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	files := map[string]string{"check": "check", "transition, plan": "plan", "transition, live": "live", "verify": "verify", "envoy, details": "envoy"}
	for _, s := range scenes() {
		name, ok := files[s.name]
		if !ok {
			continue
		}
		w := testWizard(termenv.ANSI, scripted{seen: fixture(300), plan: fixturePlan()})
		w.Update(tea.WindowSizeMsg{Width: 96, Height: 30})
		w.took(lookMsg{look: clean(fixture(300))})
		s.show(w)
		if live := w.transition.live; live != nil {
			for i := range live.status.Blockers {
				live.status.Blockers[i].Why = strings.ReplaceAll(live.status.Blockers[i].Why, escape, "")
			}
		}
		if err := os.WriteFile(filepath.Join(folder, name+".svg"), []byte(svg(w.View(), 96, 30)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// clean takes the hostile text out of what the README shows.
func clean(l *Look) *Look {
	for i := range l.Check.Findings {
		l.Check.Findings[i].Message = strings.ReplaceAll(l.Check.Findings[i].Message, escape, "")
	}
	return l
}

// svg draws a frame: one line of text each, by the styles that the wizard uses.
func svg(frame string, width, height int) string {
	const cell, line = 8.4, 18
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%.0f" height="%d" font-family="ui-monospace,Menlo,Consolas,monospace" font-size="14">`+"\n", float64(width)*cell+24, height*line+24)
	b.WriteString(`<rect width="100%" height="100%" rx="8" fill="#1d2021"/>` + "\n")
	var style pen
	code := regexp.MustCompile("\x1b\\[([0-9;]*)m")
	for n, text := range strings.Split(frame, "\n") {
		column := 0
		for text != "" {
			at := code.FindStringSubmatchIndex(text)
			run := text
			if at != nil {
				run = text[:at[0]]
			}
			if run != "" {
				if strings.TrimSpace(run) != "" {
					fmt.Fprintf(&b, `<text x="%.1f" y="%d" %s xml:space="preserve" textLength="%.1f">%s</text>`+"\n", 12+float64(column)*cell, 24+n*line, style.attributes(), float64(ansi.StringWidth(run))*cell, html.EscapeString(run))
				}
				column += ansi.StringWidth(run)
			}
			if at == nil {
				break
			}
			style.tell(text[at[2]:at[3]])
			text = text[at[1]:]
		}
	}
	b.WriteString("</svg>\n")
	return b.String()
}

// pen is how text is drawn: what a terminal has been told so far.
type pen struct {
	fill                    string
	bold, faint, underlined bool
}

// tell takes one escape's codes, each on top of those before it, as tmux writes them.
func (p *pen) tell(codes string) {
	fills := map[string]string{"31": "#fb4934", "32": "#b8bb26", "33": "#fabd2f", "36": "#83a598", "39": ""}
	for _, c := range strings.Split(codes, ";") {
		switch c {
		case "", "0":
			*p = pen{}
		case "1":
			p.bold = true
		case "2":
			p.faint = true
		case "7":
			p.underlined = true
		case "22":
			p.bold, p.faint = false, false
		case "27":
			p.underlined = false
		}
		if fill, ok := fills[c]; ok {
			p.fill = fill
		}
	}
}

func (p *pen) attributes() string {
	text := `fill="` + cmp.Or(p.fill, "#d5c4a1") + `"`
	if p.bold {
		text += ` font-weight="bold"`
	}
	if p.faint {
		text += ` opacity="0.6"`
	}
	if p.underlined {
		text += ` text-decoration="underline"`
	}
	return text
}

// TestCaptures draws what test/e2e/wizard.sh has kept of a real terminal, where
// MESHCA_CAPTURES is its folder ("make captures").
func TestCaptures(t *testing.T) {
	folder := os.Getenv("MESHCA_CAPTURES")
	if folder == "" {
		t.Skip("MESHCA_CAPTURES is not set")
	}
	files, err := filepath.Glob(filepath.Join(folder, "*.ansi"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no screens in %s: %v", folder, err)
	}
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		frame := strings.TrimRight(string(raw), "\n")
		width, lines := 100, strings.Count(frame, "\n")+1
		for line := range strings.Lines(frame) {
			width = max(width, ansi.StringWidth(strings.TrimRight(line, " \n")))
		}
		name := "mesh-" + strings.TrimSuffix(filepath.Base(file), ".ansi") + ".svg"
		if err := os.WriteFile(filepath.Join("..", "..", "docs", "screens", name), []byte(svg(frame, width, lines)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
