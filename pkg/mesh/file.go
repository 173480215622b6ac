package mesh

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/meshca/kubectl-meshca/pkg/pki"
)

// maxFile bounds a saved Snapshot: one of 10,000 proxies is some 60 MiB.
const maxFile = 1 << 30

// snapshotFile is a Snapshot as it is saved: every certificate stands in one table
// by its fingerprint, for 10,000 proxies share a handful of roots.
type snapshotFile struct {
	APIVersion   string                     `json:"apiVersion"`
	Kind         string                     `json:"kind"`
	Certificates map[pki.Fingerprint][]byte `json:"certificates"`
	// CRLs are texts by their fingerprints, null where a text is not known.
	CRLs map[pki.Fingerprint][]byte `json:"crls,omitempty"`
	*Snapshot
}

// WriteJSON saves the Snapshot. It holds no private key, because a Snapshot has
// none.
func (s *Snapshot) WriteJSON(w io.Writer) error {
	file := snapshotFile{APIVersion: APIVersion, Kind: Kind, Certificates: map[pki.Fingerprint][]byte{}, CRLs: map[pki.Fingerprint][]byte{}, Snapshot: s}
	if err := s.certificates(func(c **pki.Certificate) error {
		if *c == nil {
			return errors.New("writing the snapshot: a certificate is nil")
		}
		file.Certificates[(*c).Fingerprint()] = (*c).DER
		return nil
	}); err != nil {
		return err
	}
	s.crls(func(c **pki.CRLs) { file.CRLs[(*c).Fingerprint()] = (*c).Raw })
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", " ")
	if err := encoder.Encode(file); err != nil {
		return fmt.Errorf("writing the snapshot: %w", err)
	}
	return nil
}

// ReadSnapshot reads what WriteJSON wrote.
func ReadSnapshot(r io.Reader) (*Snapshot, error) {
	limited := &io.LimitedReader{R: r, N: maxFile}
	file := snapshotFile{Snapshot: &Snapshot{}}
	decoder := json.NewDecoder(limited)
	err := decoder.Decode(&file)
	if err == nil {
		if _, err = decoder.Token(); err == nil {
			err = errors.New("something follows it")
		} else if errors.Is(err, io.EOF) {
			err = nil
		}
	}
	if limited.N == 0 {
		return nil, fmt.Errorf("reading the snapshot: it is larger than %d bytes", maxFile)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the snapshot: %w", err)
	}
	if file.APIVersion != APIVersion || file.Kind != Kind {
		return nil, fmt.Errorf("reading the snapshot: it is a %q of %q, not a %s of %s", file.Kind, file.APIVersion, Kind, APIVersion)
	}
	parsed := make(map[pki.Fingerprint]*pki.Certificate, len(file.Certificates))
	for fingerprint, der := range file.Certificates {
		c := pki.NewCertificate(der)
		if c.Fingerprint() != fingerprint {
			return nil, fmt.Errorf("reading the snapshot: certificate %s has another fingerprint", fingerprint)
		}
		parsed[fingerprint] = c
	}
	err = file.certificates(func(c **pki.Certificate) error {
		if *c == nil {
			return errors.New("reading the snapshot: a certificate is null")
		}
		whole, ok := parsed[(*c).Fingerprint()]
		if !ok {
			return fmt.Errorf("reading the snapshot: certificate %s is not in its table", (*c).Fingerprint())
		}
		*c = whole
		return nil
	})
	if err != nil {
		return nil, err
	}
	if err := file.takeCRLs(); err != nil {
		return nil, err
	}
	return file.Snapshot, nil
}

// takeCRLs gives every proxy the lists that it names.
func (f snapshotFile) takeCRLs() (err error) {
	parsed := make(map[pki.Fingerprint]*pki.CRLs, len(f.CRLs))
	for fingerprint, raw := range f.CRLs {
		if parsed[fingerprint] = pki.ParseCRLs(raw); len(raw) > 0 && parsed[fingerprint].Fingerprint() != fingerprint {
			return fmt.Errorf("reading the snapshot: CRL %s has another fingerprint", fingerprint)
		}
	}
	f.crls(func(c **pki.CRLs) {
		switch whole, ok := parsed[(*c).Fingerprint()]; {
		case !ok:
			err = fmt.Errorf("reading the snapshot: CRL %s is not in its table", (*c).Fingerprint())
		case whole != nil: // else it stays what is not known
			*c = whole
		}
	})
	return err
}

// crls visits all that are referred to by fingerprint.
func (s *Snapshot) crls(visit func(**pki.CRLs)) {
	for i := range s.Proxies {
		l := s.Proxies[i].Loaded
		if l == nil {
			continue
		}
		for n := range l.Identities {
			if l.Identities[n].CRLs != nil {
				visit(&l.Identities[n].CRLs)
			}
		}
	}
}

// certificates visits every certificate that is referred to by fingerprint.
func (s *Snapshot) certificates(visit func(**pki.Certificate) error) error {
	lists := [][]*pki.Certificate{s.MeshCACertificates}
	for i := range s.ControlPlanes {
		for _, r := range s.ControlPlanes[i].Replicas {
			if r.Served != nil {
				lists = append(lists, r.Served.Chain)
			}
			if r.Signed != nil {
				lists = append(lists, r.Signed.Chain, r.Signed.Roots)
			}
		}
	}
	for i := range s.Proxies {
		if l := s.Proxies[i].Loaded; l != nil {
			for _, identity := range l.Identities {
				lists = append(lists, identity.Chain, identity.Roots)
				for _, domain := range identity.Domains {
					lists = append(lists, domain.Roots)
				}
			}
		}
	}
	for _, m := range s.ManagedCAs {
		lists = append(lists, m.IssuerChain)
	}
	for _, w := range s.WorkloadSecrets {
		lists = append(lists, w.Chain, w.Roots)
	}
	for _, list := range lists {
		for i := range list {
			if err := visit(&list[i]); err != nil {
				return err
			}
		}
	}
	return nil
}
