package plugin

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/pki"
	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"
)

const caInspectExample = `  # what is in these files, and which certificate does the key belong to?
  kubectl meshca ca inspect root-cert.pem ca-cert.pem cert-chain.pem ca-key.pem

  # what does istiod serve? with names, key identifiers and fingerprints
  openssl s_client -connect istiod:15012 -showcerts </dev/null | kubectl meshca ca inspect - -o wide`

func newCAInspectCommand(streams genericiooptions.IOStreams) *cobra.Command {
	var output string
	var at moment
	cmd := &cobra.Command{
		Use:   "inspect FILE...",
		Short: "Show what is in files of certificates and keys",
		Long: "Shows every certificate of the files given: names, dates, key identifiers and what it\n" +
			"may do. Of a private key it shows its kind and whose it is, and never the key. Text\n" +
			"around the blocks is passed over; a certificate as DER is understood.\n\n" +
			"Exit codes: 0 shown, 2 something in a file cannot be parsed, 1 a file cannot be read or\n" +
			"has nothing in it, 64 bad usage.",
		Example: caInspectExample,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usage(errors.New("no file is named"), "name one or more, or - for standard input")
			}
			return nil
		},
		RunE: func(_ *cobra.Command, args []string) error {
			if err := validOutput(output); err != nil {
				return err
			}
			in := &input{stdin: streams.In}
			report := &caInspectReport{APIVersion: mesh.APIVersion, Kind: "CertificateList", At: at.orNow(), Items: []caInspectItem{}}
			var unread []error
			for _, name := range args {
				raw, err := in.read("the file", name)
				if err == nil {
					err = report.add(name, raw)
				}
				if err != nil {
					unread = append(unread, err)
				}
			}
			report.match()
			if err := printResult(streams.Out, output, report); err != nil {
				return err
			}
			if len(unread) > 0 {
				return unread[0]
			}
			return report.failure()
		},
	}
	cmd.Flags().Var(&at, "at", "count days from this time (default now)")
	outputFlag(cmd, &output)
	return cmd
}

// What a block is.
const (
	kindCertificate = "certificate"
	kindKey         = "key"
	kindSealed      = "sealed"
	kindOther       = "other"
)

// caInspectReport is the result of "ca inspect".
type caInspectReport struct {
	APIVersion string          `json:"apiVersion"`
	Kind       string          `json:"kind"`
	At         time.Time       `json:"at"`
	Items      []caInspectItem `json:"items"`
}

type caInspectItem struct {
	File string `json:"file"`
	// Block counts from 1 within the file.
	Block int    `json:"block"`
	Type  string `json:"type"`
	// PEM is the block's own type.
	PEM         string           `json:"pem,omitempty"`
	Certificate *pki.Description `json:"certificate,omitempty"`
	// Key is the kind of a private key, BelongsTo the certificates of these files
	// that it is the key of.
	Key       string            `json:"key,omitempty"`
	BelongsTo []pki.Fingerprint `json:"belongsTo,omitempty"`
	Error     string            `json:"error,omitempty"`

	cert   *pki.Certificate
	public crypto.PublicKey
	owners []string
}

// add takes a file apart. Only an empty or wholly strange one is an error; a block
// that cannot be parsed is an item that says so.
func (r *caInspectReport) add(name string, raw []byte) error {
	if pki.Sealed(raw) {
		r.Items = append(r.Items, caInspectItem{File: name, Block: 1, Type: kindSealed, PEM: "AGE ENCRYPTED FILE"})
		return nil
	}
	blocks := 0
	for rest := raw; ; {
		block, next := pem.Decode(rest)
		if block == nil {
			break
		}
		rest = next
		blocks++
		r.Items = append(r.Items, r.inspect(name, blocks, block))
	}
	if begins := bytes.Count(raw, []byte("-----BEGIN")); begins > blocks {
		r.Items = append(r.Items, caInspectItem{File: name, Block: blocks + 1, Type: kindOther, Error: fmt.Sprintf("%d PEM blocks begin, %d are whole: a block is cut, or two are glued together without a newline", begins, blocks)})
		return nil
	}
	if blocks > 0 {
		return nil
	}
	if c := pki.NewCertificate(raw); c.X509 != nil {
		r.Items = append(r.Items, r.certificate(caInspectItem{File: name, Block: 1, Type: kindCertificate}, c))
		return nil
	}
	message, hint := "", ""
	for _, f := range pki.LintCertificates(pki.File{Name: name, Data: raw}) {
		message, hint = ": "+f.Message, f.Hint
	}
	return failed(fmt.Errorf("%s: neither a PEM block nor a certificate is in it%s", name, message), hint)
}

func (r *caInspectReport) inspect(name string, number int, block *pem.Block) caInspectItem {
	item := caInspectItem{File: name, Block: number, Type: kindOther, PEM: block.Type}
	switch {
	case block.Type == "CERTIFICATE" || block.Type == "X509 CERTIFICATE":
		return r.certificate(item, pki.NewCertificate(block.Bytes))
	case block.Type == "TRUSTED CERTIFICATE":
		item.Error = "a certificate with OpenSSL's own trust settings behind it: 'openssl x509 -in FILE' rewrites it"
	case strings.HasSuffix(block.Type, "PRIVATE KEY"):
		item.Type = kindKey
		key, err := pki.ParseKey(pem.EncodeToMemory(block))
		switch {
		case errors.Is(err, pki.ErrEncryptedKey):
			item.Key = "encrypted"
		case err != nil:
			item.Error = err.Error()
		default:
			item.Key, item.public = pki.KeyAlgorithm(key.Public()), key.Public()
		}
	case block.Type == "CERTIFICATE REQUEST" || block.Type == "NEW CERTIFICATE REQUEST":
		if request, err := x509.ParseCertificateRequest(block.Bytes); err != nil {
			item.Error = err.Error()
		} else {
			item.Key = pki.KeyAlgorithm(request.PublicKey)
			item.owners = []string{request.Subject.String()}
		}
	}
	return item
}

func (r *caInspectReport) certificate(item caInspectItem, c *pki.Certificate) caInspectItem {
	d := pki.Describe(c, r.At)
	item.Type, item.Certificate, item.Error, item.cert = kindCertificate, &d, d.Error, c
	return item
}

// match finds the certificates that keys belong to.
func (r *caInspectReport) match() {
	for i := range r.Items {
		key := &r.Items[i]
		if key.public == nil {
			continue
		}
		seen := pki.Set{}
		for _, item := range r.Items {
			if c := item.cert; c != nil && c.X509 != nil && !seen.Has(c) && pki.SameKey(c.X509.PublicKey, key.public) {
				seen[c.Fingerprint()] = c
				key.BelongsTo = append(key.BelongsTo, c.Fingerprint())
				key.owners = append(key.owners, c.Subject())
			}
		}
	}
}

func (r *caInspectReport) failure() error {
	for _, item := range r.Items {
		if item.Error != "" {
			return found(fmt.Errorf("%s, block %d: %s", item.File, item.Block, item.Error), "")
		}
	}
	return nil
}

func (r *caInspectReport) rows(wide bool) [][]string {
	header := []string{"FILE", "#", "TYPE", "SUBJECT", "KEY", "CA", "UNTIL", "DAYS", "SHA-256"}
	if wide {
		header = append(header, "ISSUER", "SERIAL", "FROM", "SKI", "AKI", "PATHLEN", "SIGNATURE", "USAGE", "NAMES")
	}
	rows := [][]string{header}
	for _, item := range r.Items {
		row := make([]string, len(header))
		copy(row, []string{item.File, strconv.Itoa(item.Block), item.Type, item.Error, item.Key})
		switch d := item.Certificate; {
		case d != nil && d.Error != "":
			row[8] = d.Fingerprint.Short()
		case d != nil:
			fingerprint := d.Fingerprint.Short()
			if wide {
				fingerprint = d.Fingerprint.String()
			}
			copy(row[3:], []string{d.Subject, d.Key, caWord(d), stamp(d.NotAfter), strconv.Itoa(d.DaysLeft), fingerprint})
			if wide {
				aki := d.AuthorityKeyID
				if d.AuthoritySerial != "" {
					aki = strings.TrimSpace(aki + " serial " + d.AuthoritySerial)
				}
				path := ""
				if d.PathLen != nil {
					path = strconv.Itoa(*d.PathLen)
				}
				copy(row[9:], []string{
					d.Issuer, d.Serial, stamp(d.NotBefore), d.SubjectKeyID, aki, path, d.Signature,
					strings.Join(append(append([]string{}, d.KeyUsage...), d.ExtKeyUsage...), ","), strings.Join(d.Names(), ","),
				})
			}
		case item.Error == "" && item.public != nil && len(item.owners) == 0:
			row[3] = "key of no certificate here"
		case item.Error == "" && len(item.owners) > 0 && item.public != nil:
			row[3] = "key of " + strings.Join(item.owners, "; ")
		case item.Error == "" && len(item.owners) > 0:
			row[3] = "request of " + item.owners[0]
		case item.Error == "":
			row[3] = item.PEM
		}
		rows = append(rows, row)
	}
	return rows
}

func caWord(d *pki.Description) string {
	switch {
	case d.CA && d.SelfSigned:
		return "root"
	case d.CA:
		return "yes"
	}
	return "no"
}

func (r *caInspectReport) names() []string {
	var all []string
	for _, item := range r.Items {
		if item.Certificate != nil {
			all = append(all, kindCertificate+"/"+item.Certificate.Fingerprint.String())
		} else {
			all = append(all, item.Type+"/"+item.File)
		}
	}
	return all
}
