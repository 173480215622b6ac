package plugin

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"unicode"

	"sigs.k8s.io/yaml"
)

// textReport is a result of one string that somebody else chose, and of one below it.
type textReport struct {
	Text string            `json:"text"`
	Map  map[string]string `json:"map"`
}

func (r *textReport) rows(bool) [][]string { return [][]string{{r.Text}} }
func (r *textReport) names() []string      { return []string{r.Text} }

// Nothing in a document acts on a terminal, and it reads back as what it was.
func TestDocumentsOfHostileText(t *testing.T) {
	for name, text := range map[string]string{
		"plain":               "CN=root A",
		"escape":              "\x1b[2J",
		"C1":                  "a\u009b2J\u0085b",
		"delete":              "a\x7fb",
		"noncharacters":       "\ufffe\uffff",
		"turned":              "a \u202ebdc",
		"isolated":            "\u2066'quoted\": yes\u2069",
		"spelled out":         `\u202e \x01 \u0001202E`,
		"spelled and turned":  `\u202e ' "` + "\u202e\n\u2067 # none",
		"long":                strings.Repeat("word \u202a", 60),
		"of other alphabets":  "Größe 山 \u200f",
		"a control before it": "\x01\u202e",
	} {
		t.Run(name, func(t *testing.T) {
			key := text[:min(len(text), 24)]
			want := textReport{Text: text, Map: map[string]string{key: text}}
			for _, format := range []string{"json", "yaml"} {
				var out bytes.Buffer
				if err := printResult(&out, format, &want); err != nil {
					t.Fatalf("%s: %v", format, err)
				}
				for _, r := range out.String() {
					if r != '\n' && unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) && r > 0x200f || r == 0xfffe || r == 0xffff {
						t.Errorf("%s: %U is as it was: %q", format, r, &out)
					}
				}
				read := json.Unmarshal
				if format == "yaml" {
					read = func(raw []byte, into any) error { return yaml.UnmarshalStrict(raw, into) }
				}
				var got textReport
				if err := read(out.Bytes(), &got); err != nil || got.Text != text || got.Map[key] != text {
					t.Errorf("%s: read back as %q and %q: %v\n%s", format, got.Text, got.Map, err, &out)
				}
			}
		})
	}
}
