package rotation

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

func FuzzParseBackup(f *testing.F) {
	f.Add([]byte(`{"apiVersion":"meshca.io/v1alpha1","kind":"Backup","secrets":[{"namespace":"a","name":"cacerts","data":{"ca-key.pem":"eA=="}}]}`))
	f.Add([]byte("rotation: r\nsecret: a/cacerts\nfiles: {old/ca-key.pem: x}\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		b, err := ParseBackup(raw)
		if (b == nil) == (err == nil) {
			t.Fatal("neither or both of result and error")
		}
		if err != nil {
			// It may be a copy of a key, cut short: no error repeats what is in it.
			if len(raw) >= 8 && strings.Contains(err.Error(), string(raw)) {
				t.Errorf("%q is in its own error", raw)
			}
			return
		}
		for _, s := range b.Secrets {
			if s.Name == "" || s.Namespace == "" || len(s.Data) == 0 {
				t.Errorf("a copy of nothing: %+v", s)
			}
		}
	})
}

func FuzzParseJournal(f *testing.F) {
	f.Add([]byte(`{"id":"0123456789","phase":"prepare","started":"2026-01-01T00:00:00Z"}`))
	f.Fuzz(func(_ *testing.T, raw []byte) {
		_, _ = parseJournal(&corev1.ConfigMap{Data: map[string]string{stateEntry: string(raw)}})
	})
}

func FuzzParseLog(f *testing.F) {
	f.Add("3 older lines were dropped\na\nb\n")
	f.Add("a\n3 older lines were dropped\n")
	f.Fuzz(func(t *testing.T, text string) {
		l := parseLog(text)
		if len(l.String()) > maxLog && len(l.lines) > 1 {
			t.Errorf("%d bytes are kept", len(l.String()))
		}
		if again := parseLog(l.String()); again.String() != l.String() {
			t.Errorf("%q is read as %q", l.String(), again.String())
		}
	})
}

func FuzzParseHolder(f *testing.F) {
	f.Add("ann@laptop/41")
	f.Add("a@b@c/-1")
	f.Fuzz(func(t *testing.T, text string) {
		if h := ParseHolder(text); h.Identity() != text {
			t.Errorf("%q is %+v, which is %q", text, h, h.Identity())
		}
	})
}
