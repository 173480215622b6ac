package plain

import (
	"bytes"
	"fmt"
	"unicode/utf8"
)

// JSON makes a JSON text safe for a terminal and for a parser of YAML, and leaves its
// meaning as it is. encoding/json escapes the controls below the space; this escapes those
// from U+007F to U+009F, of which U+009B begins a terminal's command as the escape does, the
// two noncharacters that YAML does not allow (YAML 1.2.2, 5.1), and what turns the reading
// direction. In JSON they can stand in strings alone, where \u is theirs (RFC 8259, 7).
func JSON(raw []byte) []byte {
	if bytes.IndexFunc(raw, harmful) < 0 {
		return raw
	}
	var safe bytes.Buffer
	safe.Grow(len(raw) + len(raw)/8)
	for len(raw) > 0 {
		r, size := utf8.DecodeRune(raw)
		if harmful(r) {
			fmt.Fprintf(&safe, `\u%04x`, r)
		} else {
			safe.Write(raw[:size])
		}
		raw = raw[size:]
	}
	return safe.Bytes()
}

func harmful(r rune) bool {
	return r >= 0x7f && r <= 0x9f || r == 0xfffe || r == 0xffff || Turns(r)
}

// Turns reports whether a rune turns the reading direction of what follows it (UAX 9,
// 2.1 to 2.5).
func Turns(r rune) bool { return r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 }
