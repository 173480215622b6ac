// Command envoys holds the verifier of chains against real Envoys of two
// releases, as servers that judge clients and as clients that judge servers: no
// pair may be accepted that one of them refuses, and none refused that all accept.
// The real rustls-webpki is asked about the same pairs.
package main

import (
	"context"
	"flag"
	"fmt"
	mathrand "math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/pki"
	"github.com/meshca/kubectl-meshca/test/envoys/pairs"
)

func main() { os.Exit(run()) }

func run() int {
	count := flag.Int("random", 2000, "how many random pairs")
	seed := flag.Uint64("seed", uint64(time.Now().UnixNano()), "of the random pairs")
	only := flag.String("show", "", "show the answers on pairs whose name contains this")
	record := flag.String("record", "", "write what the Envoys said of the table to this file")
	webpki := flag.String("webpki", "", "the program that asks rustls-webpki")
	webpkiRecord := flag.String("webpki-record", "", "write what rustls-webpki said of the table to this file")
	flag.Parse()
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt)
	defer cancel()
	binaries := flag.Args()
	if len(binaries) < 2 {
		fmt.Fprintln(os.Stderr, "envoys: give two Envoy binaries: see run.sh")
		return 64
	}
	maker := &pairs.Maker{Now: time.Now(), Rand: mathrand.New(mathrand.NewPCG(*seed, 1))}
	all := maker.Table()
	table := len(all)
	for n := range *count {
		all = append(all, maker.Random(n))
	}
	fmt.Printf("%d pairs in the table, %d random ones (seed %d)\n", table, *count, *seed)
	j := judgement{judge: pki.Envoy, all: all, table: table, only: *only, now: maker.Now, said: map[pki.Usage][][]bool{}}
	z := j
	z.judge, z.names, z.said = pki.Webpki, []string{"rustls-webpki"}, map[pki.Usage][][]bool{}
	d := j // the same, where roots hold for a trust domain
	d.all, d.said = make([]pairs.Pair, len(all)), map[pki.Usage][][]bool{}
	for i, p := range all {
		p.Domain, p.CRLs = "cluster.local", nil // that validator is not given any
		d.all[i] = p
	}
	z.all, z.table = withoutCRLs(all), len(withoutCRLs(all[:table]))
	for _, binary := range binaries {
		name := filepath.Base(filepath.Dir(binary))
		j.names, d.names = append(j.names, "Envoy "+name), append(d.names, "SPIFFE validator of "+name)
		began := time.Now()
		for _, one := range []judgement{j, d} {
			for _, usage := range pairs.Sides() {
				got, err := ask(ctx, binary, usage, one.all)
				if err != nil {
					fmt.Fprintf(os.Stderr, "envoys: %s judging %ss: %v\n", name, usage, err)
					return 1
				}
				one.said[usage] = append(one.said[usage], got)
			}
		}
		fmt.Printf("Envoy %s has judged them in %.1f s\n", name, time.Since(began).Seconds())
	}
	if *record != "" {
		if err := j.record(*record); err != nil {
			fmt.Fprintln(os.Stderr, "envoys:", err)
			return 1
		}
	}
	if *webpki != "" {
		for _, usage := range pairs.Sides() {
			got, err := askWebpki(ctx, *webpki, usage, maker.Now, z.all)
			if err != nil {
				fmt.Fprintf(os.Stderr, "envoys: rustls-webpki judging %ss: %v\n", usage, err)
				return 1
			}
			z.said[usage] = [][]bool{got}
		}
		if *webpkiRecord != "" {
			if err := z.record(*webpkiRecord); err != nil {
				fmt.Fprintln(os.Stderr, "envoys:", err)
				return 1
			}
		}
	}
	code := max(j.compare(), d.compare(), readAlike(ctx, binaries, maker.Now))
	if *webpki != "" {
		return max(code, z.compare())
	}
	fmt.Println("rustls-webpki was NOT ASKED: ztunnel's judge was held against nothing")
	return code
}

// withoutCRLs are the pairs that rustls-webpki is asked about: what ztunnel makes of CRLs
// is not judged.
func withoutCRLs(all []pairs.Pair) []pairs.Pair {
	return slices.DeleteFunc(slices.Clone(all), func(p pairs.Pair) bool { return p.CRLs != nil })
}

type judgement struct {
	judge pki.Judge
	all   []pairs.Pair
	table int // how many of them are of the table
	only  string
	now   time.Time
	names []string               // of the programs asked
	said  map[pki.Usage][][]bool // by program, by pair
}

// answers are the programs' on one pair.
func (j judgement) answers(usage pki.Usage, pair int) (words string, yes int) {
	var all []string
	for i, name := range j.names {
		word := "no"
		if j.said[usage][i][pair] {
			yes++
			word = "yes"
		}
		all = append(all, name+" "+word)
	}
	return strings.Join(all, ", "), yes
}

type tally struct{ pairs, yes, no, depends, dependsYes, falseYes, falseNo, differ, goYes, goNo int }

func (j judgement) compare() int {
	bad, looked := 0, 0
	for _, usage := range pairs.Sides() {
		var parts [2]tally
		for i, p := range j.all {
			t := &parts[0]
			if i >= j.table {
				t = &parts[1]
			}
			j.count(t, usage, i, p)
			looked++
		}
		for i, t := range parts {
			if t.pairs == 0 {
				continue
			}
			fmt.Printf("%-6s of %ss, %s: %d pairs: %d accepted, %d refused, %d depends (all say yes in %d); false yes %d, false no %d; they differ in %d; Go alone: yes wrongly %d, no wrongly %d\n",
				[]string{"table", "random"}[i], usage, strings.Join(j.names, " and "), t.pairs, t.yes, t.no, t.depends, t.dependsYes, t.falseYes, t.falseNo, t.differ, t.goYes, t.goNo)
			bad += t.falseYes + t.falseNo
		}
	}
	if bad > 0 || looked == 0 {
		fmt.Printf("%d disagreements\n", bad)
		return 1
	}
	fmt.Printf("the verifier agrees with %s\n", strings.Join(j.names, " and "))
	return 0
}

func (j judgement) count(t *tally, usage pki.Usage, i int, p pairs.Pair) {
	said, yes := j.answers(usage, i)
	whole := yes == len(j.names)
	answer := pki.Verify(p.Question(j.judge, usage, j.now))
	violation := ""
	t.pairs++
	switch answer.Result {
	case pki.Accepted:
		if t.yes++; !whole {
			t.falseYes++
			violation = "ACCEPTED, BUT"
		}
	case pki.Refused:
		if t.no++; whole {
			t.falseNo++
			violation = "REFUSED, BUT"
		}
	default:
		if t.depends++; whole {
			t.dependsYes++
		}
	}
	if yes > 0 && !whole {
		t.differ++
	}
	// What crypto/x509 alone would have said.
	switch goYes := pki.Verify(p.Question(pki.Go, usage, j.now)).Result == pki.Accepted; {
	case goYes && !whole:
		t.goYes++
	case !goYes && whole:
		t.goNo++
	}
	if violation != "" || j.only != "" && strings.Contains(p.Name, j.only) {
		fmt.Printf("%s %s, %s: %s: %s (%s)\n", violation, p.Name, usage, answer.Result, said, answer.Reason)
		if violation != "" {
			describe(p)
		}
	}
}

// record writes a line for each pair of the table, for the unit tests.
func (j judgement) record(file string) error {
	var out strings.Builder
	fmt.Fprintf(&out, "# What %s said of each pair of the table, as servers judging clients and as clients judging\n# servers, and the verifier's answers. Written by test/envoys/run.sh: see the README there.\n", strings.Join(j.names, " and "))
	for i, p := range j.all[:j.table] {
		var sides []string
		for _, usage := range pairs.Sides() {
			var words []string
			for e := range j.names {
				words = append(words, map[bool]string{true: "yes", false: "no"}[j.said[usage][e][i]])
			}
			sides = append(sides, fmt.Sprintf("%s\t%s", strings.Join(words, " "), pki.Verify(p.Question(j.judge, usage, j.now)).Result))
		}
		fmt.Fprintf(&out, "%s\t%s\n", p.Name, strings.Join(sides, "\t"))
	}
	return os.WriteFile(file, []byte(out.String()), 0o644)
}

func describe(p pairs.Pair) {
	for _, part := range []struct {
		name  string
		certs []*pki.Certificate
	}{{"trusted", p.Bundle}, {"sent", p.Chain}} {
		for _, c := range part.certs {
			x := c.X509
			if x == nil {
				fmt.Printf("    %-8s %s unparsable: %v\n", part.name, c.Fingerprint().Short(), c.Err)
				continue
			}
			fmt.Printf("    %-8s %s %q by %q until %s ski %x aki %x ca %v/%d ku %d eku %v v%d %s\n", part.name, c.Fingerprint().Short(), x.Subject, x.Issuer,
				x.NotAfter.Format(time.RFC3339), clip(x.SubjectKeyId), clip(x.AuthorityKeyId), x.IsCA, x.MaxPathLen, x.KeyUsage, x.ExtKeyUsage, x.Version, x.SignatureAlgorithm)
		}
	}
}

func clip(b []byte) []byte { return b[:min(3, len(b))] }
