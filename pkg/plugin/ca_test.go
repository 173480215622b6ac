package plugin_test

import (
	"bytes"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"filippo.io/age"
	"github.com/meshca/kubectl-meshca/pkg/pki"
	"github.com/meshca/kubectl-meshca/pkg/plugin"
	"k8s.io/cli-runtime/pkg/genericiooptions"
)

// ran is what one command line did.
type ran struct {
	code     int
	out, err string
}

func meshca(stdin string, args ...string) ran {
	var out, err bytes.Buffer
	code := plugin.Main(args, genericiooptions.IOStreams{In: strings.NewReader(stdin), Out: &out, ErrOut: &err})
	return ran{code, out.String(), err.String()}
}

// bench is a folder with two CAs that "ca new" made, and what opens their roots'
// keys.
type bench struct {
	t                   *testing.T
	dir                 string
	recipient, identity string
}

func newBench(t *testing.T) *bench {
	t.Helper()
	b := &bench{t: t, dir: t.TempDir()}
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	b.recipient = identity.Recipient().String()
	b.identity = b.write("key.txt", []byte(identity.String()+"\n"))
	for _, name := range []string{"old", "new"} {
		b.must("ca", "new", "--out", b.path(name), "--seal-to", b.recipient, "--identity", b.identity, "--sealed-file", b.path(name+".age"))
	}
	return b
}

func (b *bench) path(parts ...string) string {
	return filepath.Join(append([]string{b.dir}, parts...)...)
}

func (b *bench) write(name string, data []byte) string {
	b.t.Helper()
	if err := os.WriteFile(b.path(name), data, 0o600); err != nil {
		b.t.Fatal(err)
	}
	return b.path(name)
}

func (b *bench) read(parts ...string) []byte {
	b.t.Helper()
	raw, err := os.ReadFile(b.path(parts...))
	if err != nil {
		b.t.Fatal(err)
	}
	return raw
}

func (b *bench) must(args ...string) ran {
	b.t.Helper()
	r := meshca("", args...)
	if r.code != plugin.ExitOK {
		b.t.Fatalf("%v: exit %d: %s", args, r.code, r.err)
	}
	return r
}

// files are the flags of a CA's four files.
func (b *bench) files(name string) []string {
	return []string{"--root", b.path(name, "root-cert.pem"), "--ca-cert", b.path(name, "ca-cert.pem"), "--ca-key", b.path(name, "ca-key.pem"), "--chain", b.path(name, "cert-chain.pem")}
}

func (b *bench) swapped(flag, value string) []string {
	args := b.files("new")
	args[slices.Index(args, flag)+1] = value
	return args
}

func (b *bench) left() []string {
	var all []string
	err := filepath.WalkDir(b.dir, func(path string, _ os.DirEntry, err error) error {
		all = append(all, path)
		return err
	})
	if err != nil {
		b.t.Fatal(err)
	}
	return all
}

// wide is text as some shells on Windows write it.
func wide(text []byte) []byte {
	out := []byte("\xff\xfe")
	for _, c := range text {
		out = append(out, c, 0)
	}
	return out
}

func derOf(t *testing.T, text []byte) []byte {
	t.Helper()
	block, _ := pem.Decode(text)
	if block == nil {
		t.Fatal("no PEM")
	}
	return block.Bytes
}

// What is made is sound, complete and kept: four files by the names of the Secret,
// the root's key only sealed.
func TestCANew(t *testing.T) {
	b := newBench(t)
	files := pki.Files{Root: pki.File{Data: b.read("new", "root-cert.pem")}, CACert: pki.File{Data: b.read("new", "ca-cert.pem")}, CAKey: pki.File{Data: b.read("new", "ca-key.pem")}, Chain: pki.File{Data: b.read("new", "cert-chain.pem")}}
	ca, err := pki.ParseFiles(files)
	if err != nil {
		t.Fatal(err)
	}
	for name, mode := range map[string]os.FileMode{"new/ca-key.pem": 0o600, "new.age": 0o600, "new": 0o700 | os.ModeDir} {
		if info, err := os.Stat(b.path(name)); err != nil || info.Mode() != mode {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
	}
	identities, err := pki.ParseIdentities(b.read("key.txt"))
	if err != nil {
		t.Fatal(err)
	}
	raw, err := pki.Unseal(bytes.NewReader(b.read("new.age")), identities...)
	if err != nil {
		t.Fatal(err)
	}
	key, err := pki.ParseKey(raw)
	if err != nil || !pki.SameKey(key.Public(), ca.Roots.Certs[0].X509.PublicKey) {
		t.Errorf("the sealed key is not the root's: %v", err)
	}
	old, err := pki.ParseBundle(b.read("old", "root-cert.pem"))
	if err != nil {
		t.Fatal(err)
	}
	if old.Certs[0].Subject() == ca.Roots.Certs[0].Subject() {
		t.Error("two generations have one name")
	}
	secret := strings.Split(string(raw), "\n")[1]
	for _, path := range b.left() {
		if info, err := os.Stat(path); err == nil && !info.IsDir() {
			if data, err := os.ReadFile(path); err != nil || bytes.Contains(data, []byte(secret)) {
				t.Errorf("the root's key lies in clear in %s", path)
			}
		}
	}
}

func TestCANewWays(t *testing.T) {
	b := newBench(t)
	seal := func(name string) []string {
		return []string{"--out", b.path(name), "--seal-to", b.recipient, "--identity", b.identity, "--sealed-file", b.path(name + ".age")}
	}
	var made struct {
		Items []struct {
			File        string
			Certificate *pki.Description
		}
	}
	r := b.must(append([]string{"ca", "new", "-o", "json", "--key", "rsa-2048", "--root-lifetime", "400d", "--lifetime", "500d", "--subject-root", `O=Acme\, Inc.,CN=G2`,
		"--subject-intermediate", "/C=DE/O=Acme/CN=G2.1", "--dns-name", "istiod.istio-system.svc"}, seal("named")...)...)
	if err := json.Unmarshal([]byte(r.out), &made); err != nil {
		t.Fatal(err)
	}
	var certs []pki.Description
	for _, item := range made.Items {
		if item.Certificate != nil {
			certs = append(certs, *item.Certificate)
		}
	}
	if len(certs) != 2 || certs[0].Subject != `CN=G2,O=Acme\, Inc.` || certs[1].Subject != "CN=G2.1,O=Acme,C=DE" || certs[0].Key != "rsa-2048" ||
		!certs[1].NotAfter.Equal(certs[0].NotAfter) || certs[0].DaysLeft != 399 || !slices.Equal(certs[1].DNSNames, []string{"istiod.istio-system.svc"}) {
		t.Errorf("%+v", certs)
	}
	r = b.must(append([]string{"ca", "new", "--name", "prod", "--trust-domain", "prod.acme"}, seal("domain")...)...)
	if !strings.Contains(r.out, "CN=prod root ") || !strings.Contains(r.out, "O=prod.acme") {
		t.Error(r.out)
	}
	// A second intermediate under the root of before, by its sealed key.
	b.must("ca", "new", "--out", b.path("again"), "--by", b.path("new", "root-cert.pem"), "--by-key", b.path("new.age"), "--identity", b.identity)
	if !bytes.Equal(b.read("again", "root-cert.pem"), b.read("new", "root-cert.pem")) || bytes.Equal(b.read("again", "ca-cert.pem"), b.read("new", "ca-cert.pem")) {
		t.Error("it is not another intermediate under the same root")
	}
	b.must("ca", "lint", b.path("again"), "--old-root", b.path("new", "root-cert.pem"), "--old-ca-cert", b.path("new", "ca-cert.pem"), "--fail-on", "warning")
	// Sealed to a passphrase, which opens it again.
	word := b.write("word.txt", []byte("correct horse\n"))
	b.must("ca", "new", "--out", b.path("worded"), "--seal-to", "passphrase", "--passphrase-file", word, "--sealed-file", b.path("worded", "root.age"))
	b.must("ca", "cross-sign", "--root", b.path("new", "root-cert.pem"), "--by", b.path("worded", "root-cert.pem"), "--by-key", b.path("worded", "root.age"), "--passphrase-file", word)
	// Without an identity nobody tries to open it, which must be said.
	untried := []string{"ca", "new", "--out", b.path("untried"), "--seal-to", b.recipient, "--sealed-file", b.path("untried.age")}
	if r := meshca("", untried...); r.code != plugin.ExitUsage || !strings.Contains(r.err, "nobody has tried") {
		t.Errorf("exit %d: %s", r.code, r.err)
	}
	b.must(append(untried, "--no-trial", b.recipient[len(b.recipient)-8:])...)
}

// Nothing that fails leaves anything behind, or changes anything.
func TestCANewRefusals(t *testing.T) {
	b := newBench(t)
	stranger, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	wrong := b.write("wrong.txt", []byte(stranger.String()))
	empty := b.write("empty", nil)
	half := b.path("half")
	if err := os.Mkdir(half, 0o700); err != nil {
		t.Fatal(err)
	}
	b.write("half/cert-chain.pem", []byte("mine"))
	base := []string{"ca", "new", "--out", b.path("x", "y")}
	seal := []string{"--seal-to", b.recipient, "--sealed-file", b.path("x.age"), "--no-trial", b.recipient[len(b.recipient)-8:]}
	join := func(parts ...[]string) []string { return slices.Concat(parts...) }
	for name, test := range map[string]struct {
		args []string
		code int
		want string
	}{
		"no folder":                  {join([]string{"ca", "new"}, seal), 64, "--out is missing"},
		"nowhere to seal":            {base, 64, "make a recipient with 'age-keygen"},
		"no sealed file":             {join(base, seal[:2]), 64, "--sealed-file are needed"},
		"no recipient":               {join(base, seal[2:]), 64, "--seal-to and"},
		"a bad recipient":            {join(base, []string{"--seal-to", "age1x"}, seal[2:]), 64, "not an age recipient"},
		"the secret as a recipient":  {join(base, []string{"--seal-to", stranger.String()}, seal[2:]), 64, "this is the secret identity"},
		"passphrase, nobody there":   {join(base, []string{"--seal-to", "passphrase"}, seal[2:]), 64, "nobody to ask"},
		"empty passphrase":           {join(base, []string{"--seal-to", "passphrase", "--passphrase-file", empty}, seal[2:]), 1, "passphrase is empty"},
		"passphrase and recipient":   {join(base, []string{"--seal-to", "passphrase"}, seal), 64, "not to both"},
		"passphrase file, recipient": {join(base, seal, []string{"--passphrase-file", empty}), 64, "is for --seal-to passphrase"},
		"an identity that is none":   {join(base, seal, []string{"--identity", empty}), 1, "no age identity in it"},
		"the wrong identity":         {join(base, seal, []string{"--identity", wrong}), 1, "opening"},
		"nobody has tried":           {join(base, seal[:4]), 64, "nobody has tried to open"},
		"not how it ends":            {join(base, seal[:4], []string{"--no-trial", "nonsense"}), 2, "not acknowledged"},
		"unknown key":                {join(base, seal, []string{"--key", "dsa"}), 64, "use one of rsa-2048"},
		"no lifetime":                {join(base, seal, []string{"--lifetime", "0d"}), 64, "must be positive"},
		"odd lifetime":               {join(base, seal, []string{"--lifetime", "long"}), 64, "is not a duration"},
		"odd name":                   {join(base, seal, []string{"--subject-root", "Acme"}), 64, "is not NAME=VALUE"},
		"unknown attribute":          {join(base, seal, []string{"--subject-root", "X=Acme"}), 64, `unknown attribute "X"`},
		"one name for both":          {join(base, seal, []string{"--subject-root", "CN=a", "--subject-intermediate", "CN=A"}), 1, "name of its issuer"},
		"output format":              {join(base, seal, []string{"-o", "xml"}), 64, "unknown output format"},
		"an argument":                {join(base, seal, []string{"more"}), 64, `unexpected argument "more"`},
		"the folder is a file":       {join([]string{"ca", "new", "--out", empty}, seal), 1, "empty"},
		"below a file":               {join([]string{"ca", "new", "--out", empty + "/x"}, seal), 1, "empty"},
		"a file is there":            {join([]string{"ca", "new", "--out", half}, seal), 1, "cert-chain.pem is there already"},
		"the sealed file is there":   {join(base, seal[:2], []string{"--sealed-file", empty}), 1, "is there already"},
		"the sealed file is its key": {join([]string{"ca", "new", "--out", half, "--seal-to", b.recipient, "--identity", b.identity, "--sealed-file", half + "/ca-key.pem"}), 64, "is a file of --out"},
		"nowhere to put the sealed":  {join(base, seal[:2], seal[4:], []string{"--sealed-file", b.path("none", "x.age")}), 1, "no such file"},
		"root without key":           {join(base, []string{"--by", b.path("new", "root-cert.pem")}), 64, "belong together"},
		"root, and a name for one":   {join(base, []string{"--by", "a", "--by-key", "b", "--subject-root", "CN=a"}), 64, "exclude each other"},
		"sealed key, nothing opens":  {join(base, []string{"--by", b.path("new", "root-cert.pem"), "--by-key", b.path("new.age")}), 64, "is sealed"},
		"sealed key, wrong identity": {join(base, []string{"--by", b.path("new", "root-cert.pem"), "--by-key", b.path("new.age"), "--identity", wrong}), 1, "is this the identity"},
		"another root's key":         {join(base, []string{"--by", b.path("new", "root-cert.pem"), "--by-key", b.path("old.age"), "--identity", b.identity}), 1, "the key is not that of the certificate"},
		"under an intermediate":      {join(base, []string{"--by", b.path("new", "ca-cert.pem"), "--by-key", b.path("new", "ca-key.pem")}), 1, "is no self-signed root\nhint: have the intermediate signed for a request: 'kubectl meshca ca csr'"},
	} {
		t.Run(name, func(t *testing.T) {
			before := b.left()
			r := meshca("", test.args...)
			if r.code != test.code || !strings.Contains(r.err, test.want) || r.out != "" {
				t.Errorf("exit %d, want %d with %q: %s%s", r.code, test.code, test.want, r.out, r.err)
			}
			if strings.Contains(r.err, stranger.String()[20:]) {
				t.Error("the error repeats a secret")
			}
			if after := b.left(); !slices.Equal(before, after) {
				t.Errorf("left behind: %v", after)
			}
			if string(b.read("half", "cert-chain.pem")) != "mine" {
				t.Error("a file was written over")
			}
		})
	}
}

// What fails after the key was sealed takes the sealed file back too.
func TestCANewTakesBack(t *testing.T) {
	b := newBench(t)
	if err := errors.Join(os.Mkdir(b.path("real"), 0o700), os.Symlink(b.path("real"), b.path("link"))); err != nil {
		t.Fatal(err)
	}
	before := b.left()
	r := meshca("", "ca", "new", "--out", b.path("link"), "--seal-to", b.recipient, "--identity", b.identity, "--sealed-file", b.path("real", "cert-chain.pem"))
	if r.code != plugin.ExitError || r.out != "" || !strings.Contains(r.err, "file exists") {
		t.Errorf("exit %d: %s%s", r.code, r.out, r.err)
	}
	if after := b.left(); !slices.Equal(before, after) {
		t.Errorf("left behind: %v", after)
	}
}

// Bad files: the exit code says which, the finding or the error says what.
func TestCALintRows(t *testing.T) {
	b := newBench(t)
	dos := func(raw []byte) []byte { return bytes.ReplaceAll(raw, []byte("\n"), []byte("\r\n")) }
	root, key := b.read("new", "root-cert.pem"), b.read("new", "ca-key.pem")
	encrypted := []byte("-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n")
	for name, test := range map[string]struct {
		args []string
		code int
		want string // in stdout where it is a finding, in stderr otherwise
	}{
		"sound":                {b.files("new"), 0, "verdict: sound"},
		"beside the old":       {append(b.files("new"), "--old-root", b.path("old", "root-cert.pem"), "--old-ca-cert", b.path("old", "ca-cert.pem"), "--old-chain", b.path("old", "cert-chain.pem"), "--fail-on", "warning"), 0, "verdict: sound"},
		"a folder":             {[]string{b.path("new")}, 0, "verdict: sound"},
		"beside itself":        {[]string{b.path("new"), "--old-root", b.path("new", "root-cert.pem"), "-o", "wide"}, 0, "root-known"},
		"wrong key":            {b.swapped("--ca-key", b.path("old", "ca-key.pem")), 2, "wrong-key"},
		"wrong root":           {b.swapped("--root", b.path("old", "root-cert.pem")), 2, "no-path"},
		"glued":                {b.swapped("--root", b.write("glued", append(bytes.TrimSpace(root), root...))), 2, "cut-block"},
		"CRLF":                 {b.swapped("--root", b.write("crlf", dos(root))), 2, "crlf"},
		"expired":              {append(b.files("new"), "--at", "2100-01-01"), 2, "expired"},
		"not yet valid":        {append(b.files("new"), "--at", "2020-01-01T00:00:00Z"), 2, "not-yet-valid"},
		"encrypted key":        {b.swapped("--ca-key", b.write("encrypted", encrypted)), 2, "encrypted-key"},
		"empty root":           {b.swapped("--root", b.write("empty", nil)), 2, "empty-file"},
		"key among the roots":  {b.swapped("--root", b.write("mixed", slices.Concat(root, key))), 2, "key-in-certificates"},
		"no newline":           {b.swapped("--root", b.write("short", bytes.TrimSpace(root))), 0, "no-newline"},
		"no newline, strict":   {append(b.swapped("--root", b.path("short")), "--fail-on", "warning"), 2, "no-newline"},
		"certificate as a key": {b.swapped("--ca-key", b.path("new", "ca-cert.pem")), 2, "bad-key"},
		"a folder for a file":  {b.swapped("--root", b.dir), 1, "is a directory"},
		"no such file":         {b.swapped("--root", b.path("none")), 1, "no such file"},
		"no such folder":       {[]string{b.path("none")}, 1, "no such file"},
		"half a folder":        {[]string{b.dir}, 1, "root-cert.pem: no such file"},
		"a file for a folder":  {[]string{b.path("new", "root-cert.pem")}, 64, "is not a folder"},
		"half a CA":            {b.files("new")[:2], 64, "half a CA: --ca-cert, --ca-key is missing"},
		"nothing":              {nil, 64, "half a CA"},
		"folder and files":     {append(b.files("new"), b.path("new")), 64, "exclude each other"},
		"half an old CA":       {append(b.files("new"), "--old-ca-cert", b.path("old", "ca-cert.pem")), 64, "--old-root is missing"},
		"an old CA of nothing": {append(b.files("new"), "--old-root", b.path("empty")), 1, "reading the old CA"},
		"odd threshold":        {append(b.files("new"), "--fail-on", "info"), 64, "use error or warning"},
		"odd time":             {append(b.files("new"), "--at", "tomorrow"), 64, "is not a time"},
		"two folders":          {[]string{"a", "b"}, 64, `unexpected argument "b"`},
		"stdin twice":          {[]string{"--root", "-", "--ca-cert", "-", "--ca-key", "k"}, 64, "both read standard input"},
	} {
		t.Run(name, func(t *testing.T) {
			r := meshca("", append([]string{"ca", "lint"}, test.args...)...)
			text := r.err
			if test.code == plugin.ExitOK || test.code == plugin.ExitFindings {
				text = r.out
			} else if r.out != "" {
				t.Errorf("a result besides the error: %s", r.out)
			}
			if r.code != test.code || !strings.Contains(text, test.want) {
				t.Errorf("exit %d, want %d with %q:\n%s%s", r.code, test.code, test.want, r.out, r.err)
			}
			if body := strings.Split(string(key), "\n")[1]; strings.Contains(r.out+r.err, body) {
				t.Error("a key was printed")
			}
		})
	}
	var report struct {
		APIVersion, Kind string
		Errors, Warnings int
		Items            []pki.Finding
	}
	r := meshca(string(dos(root)), append([]string{"ca", "lint", "-o", "json"}, b.swapped("--root", "-")...)...)
	if err := json.Unmarshal([]byte(r.out), &report); err != nil || r.code != 2 || report.APIVersion != "meshca.io/v1alpha1" || report.Errors != 1 || len(report.Items) != 1 || report.Items[0].ID != "crlf" {
		t.Errorf("%v: exit %d: %s", err, r.code, r.out)
	}
}

func TestCACrossSign(t *testing.T) {
	b := newBench(t)
	args := func(more ...string) []string {
		return append([]string{"ca", "cross-sign", "--root", b.path("new", "root-cert.pem"), "--by", b.path("old", "root-cert.pem"), "--by-key", b.path("old.age"), "--identity", b.identity}, more...)
	}
	r := b.must(args()...)
	bundle, err := pki.ParseBundle([]byte(r.out))
	if err != nil || len(bundle.Certs) != 1 {
		t.Fatalf("stdout is not one certificate: %v", err)
	}
	if !strings.Contains(r.err, "certified by") {
		t.Error(r.err)
	}
	b.must(args("--out", b.path("cross.pem"))...)
	files := pki.Files{Root: pki.File{Data: b.read("new", "root-cert.pem")}, CACert: pki.File{Data: b.read("new", "ca-cert.pem")}, CAKey: pki.File{Data: b.read("new", "ca-key.pem")}}
	ca, err := pki.ParseFiles(files)
	if err != nil {
		t.Fatal(err)
	}
	key, err := pki.ECDSAP256.Generate()
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := ca.IssueLeaf(pki.LeafRequest{SPIFFE: "spiffe://cluster.local/ns/a/sa/b", DNSNames: []string{"a.b"}, Public: key.Public(), Now: ca.Cert.X509.NotBefore.Add(pki.Backdating)})
	if err != nil {
		t.Fatal(err)
	}
	plain := b.write("plain.pem", pki.NewBundle(leaf, ca.Cert).Raw)
	crossed := b.write("crossed.pem", slices.Concat(b.read("plain.pem"), b.read("cross.pem")))
	// As a web server's certificate has it.
	narrow := *leaf.X509
	narrow.ExtKeyUsage, narrow.ExtraExtensions = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, nil
	der, err := x509.CreateCertificate(rand.Reader, &narrow, ca.Cert.X509, key.Public(), ca.Key)
	if err != nil {
		t.Fatal(err)
	}
	serverOnly := b.write("server-only.pem", pki.NewBundle(pki.NewCertificate(der), ca.Cert).Raw)
	both := b.write("both.pem", slices.Concat(b.read("old", "root-cert.pem"), b.read("new", "root-cert.pem")))
	verify := func(roots, chain string, more ...string) []string {
		return append([]string{"ca", "verify", "--roots", roots, "--chain", chain}, more...)
	}
	oldRoot, newRoot := b.path("old", "root-cert.pem"), b.path("new", "root-cert.pem")
	for name, test := range map[string]struct {
		args []string
		code int
		want string
	}{
		"new root":           {verify(newRoot, plain, "--for", "all"), 0, "accepted"},
		"new root, crossed":  {verify(newRoot, crossed, "--for", "all", "--usage", "client"), 0, "accepted"},
		"old root":           {verify(oldRoot, plain), 2, "refused"},
		"old root, crossed":  {verify(oldRoot, crossed, "--for", "all", "--usage", "server", "-o", "wide"), 0, "by way of"},
		"both roots":         {verify(both, crossed, "--for", "all"), 0, "accepted"},
		"as Go":              {verify(oldRoot, plain, "--for", "go"), 2, "refused"},
		"as ztunnel":         {verify(newRoot, plain, "--for", "ztunnel"), 0, "accepted"},
		"on an old Envoy":    {verify(newRoot, plain, "--envoy", "1.28"), 0, "accepted"},
		"trusted above":      {verify(b.path("new", "ca-cert.pem"), plain, "--for", "all"), 0, "accepted"},
		"depends":            {verify(b.path("new", "ca-cert.pem"), plain, "--envoy", "1.24"), 2, "not accepted (envoy: depends)"},
		"the worst of all":   {verify(b.path("new", "ca-cert.pem"), plain, "--envoy", "1.24", "--for", "all", "-o", "yaml"), 2, "\nresult: depends\n"},
		"its name":           {verify(newRoot, plain, "--spiffe", "spiffe://cluster.local/ns/a/sa/b", "--dns", "a.b"), 0, "accepted"},
		"another's name":     {verify(newRoot, plain, "--spiffe", "spiffe://cluster.local/ns/a/sa/c"), 2, "refused"},
		"another DNS name":   {verify(newRoot, plain, "--dns", "c.d", "-o", "yaml"), 2, "result: refused"},
		"in ten years":       {verify(newRoot, plain, "--at", "2040-01-01", "-o", "name"), 2, "envoy/refused"},
		"no roots":           {[]string{"ca", "verify", "--chain", plain}, 64, "--roots and --chain are needed"},
		"unknown judge":      {verify(newRoot, plain, "--for", "nginx"), 64, "use one of envoy, go, ztunnel, all"},
		"unknown usage":      {verify(newRoot, plain, "--usage", "sign"), 64, "use one of both, client, server, any"},
		"server only":        {verify(newRoot, serverOnly), 2, "as a client it is refused: no subject"},
		"server only, says":  {verify(newRoot, serverOnly, "-o", "name"), 2, "envoy/depends"},
		"server only, asked": {verify(newRoot, serverOnly, "--usage", "server", "-o", "yaml"), 0, "\nusage: server\n"},
		"server only, any":   {verify(newRoot, serverOnly, "--usage", "any"), 0, "accepted"},
		"a CA as a leaf":     {verify(newRoot, b.path("new", "ca-cert.pem"), "--usage", "both"), 2, "may not sign a handshake"},
		"what was asked":     {verify(newRoot, plain, "-o", "yaml"), 0, "\nusage: both\n"},
		"unknown release":    {verify(newRoot, plain, "--envoy", "new"), 64, "Envoy's own release"},
		"Istio's release":    {verify(newRoot, plain, "--envoy", "1.-1"), 64, "Envoy's own release"},
		"empty roots":        {verify(b.write("nothing", nil), plain), 1, "no certificate in it"},
		"UTF-16 roots":       {verify(b.write("utf-16", wide(b.read("new", "root-cert.pem"))), plain), 1, "no certificate in it: it is text in UTF-16\nhint: save it as plain ASCII"},
		"Vault's answer":     {verify(newRoot, b.write("vault.json", []byte(`{"data":{"certificate":"x"}}`))), 1, "it is Vault's JSON"},
		"DER chain":          {verify(newRoot, b.write("chain.der", leaf.DER)), 1, "it is a certificate as DER, not PEM\nhint: convert it"},
		"PKCS#7 with CRLF":   {verify(newRoot, b.write("chain.p7b", []byte("-----BEGIN PKCS7-----\r\nAAAA\r\n-----END PKCS7-----\r\n"))), 1, "hint: take the certificates out: openssl pkcs7"},
		"a key as roots":     {verify(b.path("new", "ca-key.pem"), plain), 1, `is a "EC PRIVATE KEY"`},
		"no such chain":      {verify(newRoot, b.path("none")), 1, "no such file"},
		"a folder":           {verify(b.dir, plain), 1, "is a directory"},
		"a blank line":       {verify(b.write("blank.pem", bytes.Replace(b.read("new", "root-cert.pem"), []byte("\n-----END"), []byte("\n\n-----END"), 1)), plain, "--for", "all"), 1, "--roots " + b.path("blank.pem") + ": the block of its certificate 1 has a blank line"},
		"chain begins wrong": {verify(newRoot, b.path("new", "ca-cert.pem")), 0, "accepted"},

		"cross: a file is there":        {args("--out", b.path("cross.pem")), 1, "is there already"},
		"cross: no old root":            {[]string{"ca", "cross-sign", "--root", newRoot}, 64, "are needed"},
		"cross: old root's key is new":  {[]string{"ca", "cross-sign", "--root", newRoot, "--by", oldRoot, "--by-key", b.path("new.age"), "--identity", b.identity}, 2, "is the key of no certificate"},
		"cross: itself":                 {[]string{"ca", "cross-sign", "--root", oldRoot, "--by", oldRoot, "--by-key", b.path("old.age"), "--identity", b.identity}, 2, "could not tell them apart"},
		"cross: an intermediate":        {[]string{"ca", "cross-sign", "--root", b.path("new", "ca-cert.pem"), "--by", oldRoot, "--by-key", b.path("old.age"), "--identity", b.identity}, 2, "no self-signed root"},
		"cross: by an intermediate":     {[]string{"ca", "cross-sign", "--root", newRoot, "--by", b.path("old", "ca-cert.pem"), "--by-key", b.path("old", "ca-key.pem")}, 2, "path length 0"},
		"cross: several roots":          {[]string{"ca", "cross-sign", "--root", both, "--by", oldRoot, "--by-key", b.path("old.age"), "--identity", b.identity}, 1, "2 certificates in it, want one"},
		"cross: of several, by its key": {[]string{"ca", "cross-sign", "--root", newRoot, "--by", b.write("turned.pem", slices.Concat(b.read("new", "root-cert.pem"), b.read("old", "root-cert.pem"))), "--by-key", b.path("old.age"), "--identity", b.identity}, 0, "BEGIN CERTIFICATE"},
		"cross: the key is none":        {[]string{"ca", "cross-sign", "--root", newRoot, "--by", oldRoot, "--by-key", newRoot}, 1, `a "CERTIFICATE" where a private key should be`},
		"cross: the key is DER":         {[]string{"ca", "cross-sign", "--root", newRoot, "--by", oldRoot, "--by-key", b.write("key.der", derOf(t, b.unsealed("old.age")))}, 1, "no private key in it: it is a private key as DER, not PEM\nhint: convert it"},
		"accept: the answer is DER":     {[]string{"ca", "accept", "--ca-key", b.path("new", "ca-key.pem"), "--ca-cert", b.write("signed.cer", ca.Cert.DER), "--root", newRoot, "--out", b.path("accepted")}, 1, "it is a certificate as DER, not PEM\nhint: convert it"},
		"cross: into no folder":         {args("--out", b.path("none", "cross.pem")), 1, "no such file"},
	} {
		t.Run(name, func(t *testing.T) {
			r := meshca("", test.args...)
			if r.code != test.code || !strings.Contains(r.out+r.err, test.want) {
				t.Errorf("exit %d, want %d with %q:\n%s%s", r.code, test.code, test.want, r.out, r.err)
			}
			if (test.code == 1 || test.code == 64) && r.out != "" {
				t.Errorf("a result besides the error: %s", r.out)
			}
		})
	}
	var verdict struct {
		Result, Reason string
		Path           []struct{ Subject string }
		Items          []struct{ Judge, Result string }
	}
	r = meshca(string(b.read("crossed.pem")), verify(oldRoot, "-", "--for", "all", "-o", "json")...)
	if err := json.Unmarshal([]byte(r.out), &verdict); err != nil || verdict.Result != "accepted" || verdict.Reason == "" || len(verdict.Path) != 4 || len(verdict.Items) != 3 {
		t.Errorf("%v: %s%s", err, r.out, r.err)
	}
	// The root's key within the copy that "rotate" seals opens too.
	raw, err := json.Marshal(map[string]any{"files": map[string]string{"new/root-key.pem": string(b.unsealed("old.age")), "new/ca-key.pem": "x"}})
	if err != nil {
		t.Fatal(err)
	}
	recipient, err := pki.ParseRecipient(b.recipient)
	if err != nil {
		t.Fatal(err)
	}
	if err := pki.WriteSealed(b.path("copy.age"), raw, []age.Recipient{recipient}, nil); err != nil {
		t.Fatal(err)
	}
	b.must("ca", "cross-sign", "--root", newRoot, "--by", oldRoot, "--by-key", b.path("copy.age"), "--identity", b.identity)
}

func (b *bench) unsealed(name string) []byte {
	b.t.Helper()
	identities, err := pki.ParseIdentities(b.read("key.txt"))
	if err != nil {
		b.t.Fatal(err)
	}
	raw, err := pki.Unseal(bytes.NewReader(b.read(name)), identities...)
	if err != nil {
		b.t.Fatal(err)
	}
	return raw
}

func TestCAInspect(t *testing.T) {
	b := newBench(t)
	root := b.read("new", "root-cert.pem")
	bundle, err := pki.ParseBundle(root)
	if err != nil {
		t.Fatal(err)
	}
	cert, key := b.path("new", "ca-cert.pem"), b.path("new", "ca-key.pem")
	for name, test := range map[string]struct {
		args []string
		code int
		want string
	}{
		"all files":     {[]string{b.path("new", "root-cert.pem"), cert, key, b.path("new.age")}, 0, "key of CN=mesh intermediate"},
		"key alone":     {[]string{key}, 0, "key of no certificate here"},
		"key of others": {[]string{b.path("old", "ca-cert.pem"), key}, 0, "key of no certificate here"},
		"wide":          {[]string{cert, "-o", "wide"}, 0, "keyCertSign"},
		"sealed":        {[]string{b.path("new.age")}, 0, "sealed"},
		"names":         {[]string{cert, "-o", "name"}, 0, "certificate/"},
		"DER":           {[]string{b.write("der", bundle.Certs[0].DER)}, 0, "CN=mesh root"},
		"encrypted key": {[]string{b.write("encrypted", []byte("-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n"))}, 0, "encrypted"},
		"CRLF, comment": {[]string{b.write("crlf", append([]byte("# root\r\n"), bytes.ReplaceAll(root, []byte("\n"), []byte("\r\n"))...))}, 0, "CN=mesh root"},
		"cut":           {[]string{b.write("cut", root[:200])}, 2, "1 PEM blocks begin, 0 are whole"},
		"glued":         {[]string{b.write("glued", append(bytes.TrimSpace(root), root...))}, 2, "PEM blocks begin"},
		"unparsable":    {[]string{b.write("odd", []byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"))}, 2, "cannot be parsed"},
		"empty":         {[]string{b.write("empty", nil)}, 1, "neither a PEM block nor a certificate"},
		"UTF-16":        {[]string{b.write("utf-16", wide(root))}, 1, "it is text in UTF-16\nhint: save it as plain ASCII"},
		"DER key":       {[]string{b.write("der-key", derOf(t, b.read("new", "ca-key.pem")))}, 1, "it is a private key as DER, not PEM\nhint: convert it"},
		"no such file":  {[]string{cert, b.path("none")}, 1, "no such file"},
		"a folder":      {[]string{b.dir}, 1, "is a directory"},
		"nothing named": {nil, 64, "no file is named"},
		"format":        {[]string{cert, "-o", "xml"}, 64, "unknown output format"},
	} {
		t.Run(name, func(t *testing.T) {
			r := meshca("", append([]string{"ca", "inspect"}, test.args...)...)
			if r.code != test.code || !strings.Contains(r.out+r.err, test.want) {
				t.Errorf("exit %d, want %d with %q:\n%s%s", r.code, test.code, test.want, r.out, r.err)
			}
			for _, secret := range [][]byte{b.read("new", "ca-key.pem"), b.unsealed("new.age")} {
				if strings.Contains(r.out+r.err, strings.Split(string(secret), "\n")[1]) {
					t.Error("a key was printed")
				}
			}
		})
	}
	var list struct {
		Items []struct {
			Type, Key   string
			Certificate *pki.Description
			BelongsTo   []pki.Fingerprint
		}
	}
	r := meshca(string(b.read("new", "ca-key.pem")), "ca", "inspect", "-", cert, "-o", "json", "--at", "2026-01-01")
	if err := json.Unmarshal([]byte(r.out), &list); err != nil || len(list.Items) != 2 {
		t.Fatalf("%v: %s%s", err, r.out, r.err)
	}
	k, c := list.Items[0], list.Items[1].Certificate
	if k.Type != "key" || k.Key != "ecdsa-p256" || len(k.BelongsTo) != 1 || k.BelongsTo[0] != c.Fingerprint || !c.CA || c.SelfSigned || c.PathLen == nil || *c.PathLen != 0 || c.SubjectKeyID == "" || c.AuthorityKeyID == "" {
		t.Errorf("%s", r.out)
	}
}

func TestCAUnknownCommand(t *testing.T) {
	if r := meshca("", "ca", "nonsense"); r.code != 64 || !strings.Contains(r.err, `unknown command "ca nonsense"`) {
		t.Errorf("exit %d: %s", r.code, r.err)
	}
}
