package tui

import (
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
	code := regexp.MustCompile("\x1b\\[([0-9;]*)m")
	for n, text := range strings.Split(frame, "\n") {
		column, style := 0, "fill=\"#d5c4a1\""
		for text != "" {
			at := code.FindStringSubmatchIndex(text)
			run := text
			if at != nil {
				run = text[:at[0]]
			}
			if run != "" {
				if strings.TrimSpace(run) != "" {
					fmt.Fprintf(&b, `<text x="%.1f" y="%d" %s xml:space="preserve" textLength="%.1f">%s</text>`+"\n", 12+float64(column)*cell, 24+n*line, style, float64(ansi.StringWidth(run))*cell, html.EscapeString(run))
				}
				column += ansi.StringWidth(run)
			}
			if at == nil {
				break
			}
			style = svgStyle(text[at[2]:at[3]])
			text = text[at[1]:]
		}
	}
	b.WriteString("</svg>\n")
	return b.String()
}

func svgStyle(codes string) string {
	fill, more := "#d5c4a1", ""
	for _, c := range strings.Split(codes, ";") {
		switch c {
		case "1":
			more += ` font-weight="bold"`
		case "2":
			more += ` opacity="0.6"`
		case "7":
			more += ` text-decoration="underline"`
		case "31":
			fill = "#fb4934"
		case "32":
			fill = "#b8bb26"
		case "33":
			fill = "#fabd2f"
		case "36":
			fill = "#83a598"
		}
	}
	return fmt.Sprintf(`fill="%s"%s`, fill, more)
}
