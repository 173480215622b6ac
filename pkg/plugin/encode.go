package plugin

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"

	text "github.com/meshca/kubectl-meshca/internal/plain"
	"sigs.k8s.io/yaml"
)

// writeJSON writes a document in which nothing acts on a terminal.
func writeJSON(w io.Writer, document any, indent string) error {
	var raw bytes.Buffer
	encoder := json.NewEncoder(&raw)
	encoder.SetIndent("", indent)
	if err := encoder.Encode(document); err != nil {
		return err
	}
	_, err := w.Write(text.JSON(raw.Bytes()))
	return err
}

// yamlOf is the same document in YAML.
func yamlOf(document any) ([]byte, error) {
	raw, err := json.Marshal(document)
	if err != nil {
		return nil, err
	}
	return yamlFrom(raw)
}

// yamlFrom turns JSON into YAML. The emitter writes a rune that turns the reading direction
// as it is, in a scalar of whatever style, and only a double-quoted one has escapes. So each
// is hidden behind a control, which makes its scalar a double-quoted one, and a word that is
// nowhere in a document: its own hash.
func yamlFrom(raw []byte) ([]byte, error) {
	sum := sha256.Sum256(raw)
	word := hex.EncodeToString(sum[:])[:16]
	for r := rune(0x202a); r <= 0x2069; r++ {
		if text.Turns(r) {
			raw = bytes.ReplaceAll(raw, []byte(string(r)), fmt.Appendf(nil, `\u0001%s%04X`, word, r))
		}
	}
	raw, err := yaml.JSONToYAML(text.JSON(raw))
	return bytes.ReplaceAll(raw, []byte(`\x01`+word), []byte(`\u`)), err
}
