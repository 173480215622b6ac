package pki_test

import (
	"testing"

	"github.com/meshca/kubectl-meshca/pkg/pki"
	"pgregory.net/rapid"
)

// One Memo that has seen many worlds answers each question as if it were the first,
// for every judge, at every time, in either order of asking.
func TestMemoAnswersAsVerifyDoes(t *testing.T) {
	memo := pki.NewMemo()
	rapid.Check(t, func(t *rapid.T) {
		m := maker(rapid.Uint64().Draw(t, "seed"))
		one, other := m.Random(0), m.Random(1)
		pool := append(append([]*pki.Certificate{}, one.Bundle...), other.Bundle...)
		for range 12 {
			q := asEnvoy(one)
			q.Chain = [][]*pki.Certificate{one.Chain, other.Chain, one.Chain[1:], one.Chain[:1]}[rapid.IntRange(0, 3).Draw(t, "chain")]
			q.Judge = rapid.SampledFrom([]pki.Judge{pki.Envoy, pki.Go, pki.Webpki}).Draw(t, "judge")
			q.Usage = rapid.SampledFrom([]pki.Usage{pki.ClientAuth, pki.ServerAuth, pki.AnyUsage}).Draw(t, "usage")
			q.Roots = rapid.SliceOfN(rapid.SampledFrom(pool), 0, 4).Draw(t, "roots")
			want, got := pki.Verify(q), memo.Verify(q)
			if got.Result != want.Result || got.Reason != want.Reason || !pki.NewSet(got.Path...).Equal(pki.NewSet(want.Path...)) {
				t.Fatalf("%s (%s), by itself %s (%s)", got.Result, got.Reason, want.Result, want.Reason)
			}
		}
	})
}

func TestMemoOnTheTable(t *testing.T) {
	memo := pki.NewMemo()
	for range 2 {
		for _, p := range maker(1).Table() {
			for _, judge := range []pki.Judge{pki.Envoy, pki.Webpki} {
				for _, usage := range []pki.Usage{pki.ClientAuth, pki.ServerAuth} {
					q := p.Question(judge, usage, clock)
					if want, got := pki.Verify(q), memo.Verify(q); got.Result != want.Result || got.Reason != want.Reason {
						t.Errorf("%s, %s %s: %s (%s), by itself %s (%s)", p.Name, judge, usage, got.Result, got.Reason, want.Result, want.Reason)
					}
				}
			}
		}
	}
}

// BenchmarkMemo is a mesh's leaves of one CA, judged one by one and with a Memo.
func BenchmarkMemo(b *testing.B) {
	q := asEnvoy(maker(1).Table()[0])
	b.Run("without", func(b *testing.B) {
		for b.Loop() {
			pki.Verify(q)
		}
	})
	b.Run("with", func(b *testing.B) {
		memo := pki.NewMemo()
		for b.Loop() {
			memo.Verify(q)
		}
	})
}
