package proxy

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

const (
	secretsPath   = "/config_dump?resource=dynamic_active_secrets"
	certsPath     = "/certs"
	bootstrapPath = "/config_dump?mask=bootstrap"
	ztunnelPath   = "/config_dump"
)

// sift reads an answer as it comes and keeps what is asked of it, as JSON of the same
// form: at most MaxAnswer of it. What is left out is not looked at but for where it
// ends. whole is false where the rest was not read.
type sift func(io.Reader) (kept []byte, whole bool, err error)

// siftOf is how the answer to a question is sifted, nil where it is read as it is. A
// ztunnel shows every workload and service of the mesh, about a KiB each, and takes no
// filter (ztunnel 1.31.0-rc.0 src/admin.rs, handle_config_dump); a gateway every
// credential of its own; and an Envoy before 1.13 (Istio 1.0 to 1.4) knows neither
// resource nor mask and answers either with all that it has. /certs has an entry for each
// live TLS context: some 0.8 KiB for every outbound cluster.
func siftOf(path string) sift {
	switch path {
	case secretsPath:
		return siftSecrets
	case certsPath:
		return siftContexts
	case bootstrapPath:
		return siftBootstrap
	case ztunnelPath:
		return siftCertificates
	}
	return nil
}

// siftSecrets keeps of an Envoy's dump the secrets that may be the mesh's own, and the
// names of others.
func siftSecrets(r io.Reader) ([]byte, bool, error) {
	s := &sifter{in: bufio.NewReader(r)}
	err := s.object(func(key string) error {
		if key != "configs" {
			return s.value(false)
		}
		return s.array(key, func() error { return s.config(false) })
	})
	return s.kept.Bytes(), true, err
}

// config is one of configs[]: a secret, or lists of secrets.
func (s *sifter) config(listed bool) error {
	name := ""
	return s.object(func(key string) error {
		switch key {
		case "name":
			raw, err := s.keep(key)
			if err == nil {
				err = json.Unmarshal(raw, &name)
			}
			return err
		case "secret":
			// It stands behind its name: protobuf prints fields in their order.
			if name != "" && name != workloadSecret && name != rootSecret && !ofFile(name) {
				return s.value(false)
			}
			_, err := s.keep(key)
			return err
		case "last_updated":
			_, err := s.keep(key)
			return err
		case "dynamic_active_secrets", "dynamic_warming_secrets":
			if !listed {
				return s.array(key, func() error { return s.config(true) })
			}
		}
		return s.value(false)
	})
}

// siftContexts keeps of /certs what is said, once.
func siftContexts(r io.Reader) ([]byte, bool, error) {
	s := &sifter{in: bufio.NewReader(r)}
	seen := map[[sha256.Size]byte]bool{}
	err := s.object(func(key string) error {
		if key != "certificates" {
			return s.value(false)
		}
		return s.array(key, func() error {
			start := s.kept.Len()
			if err := s.value(true); err != nil {
				return err
			}
			said := sha256.Sum256(s.kept.Bytes()[start:])
			if seen[said] {
				s.kept.Truncate(start - len(",")) // it is not the first one
			}
			seen[said] = true
			return nil
		})
	})
	return s.kept.Bytes(), true, err
}

// siftBootstrap keeps of an Envoy's dump what it was started with.
func siftBootstrap(r io.Reader) ([]byte, bool, error) {
	s := &sifter{in: bufio.NewReader(r)}
	err := s.object(func(key string) error {
		if key != "configs" {
			return s.value(false)
		}
		return s.array(key, func() error {
			return s.object(func(key string) error {
				if key != "bootstrap" {
					return s.value(false)
				}
				_, err := s.keep(key)
				return err
			})
		})
	})
	return s.kept.Bytes(), true, err
}

// siftCertificates keeps a ztunnel's certificates, and leaves what follows unread: they
// stand before the workloads.
func siftCertificates(r io.Reader) ([]byte, bool, error) {
	s := &sifter{in: bufio.NewReader(r)}
	err := s.object(func(key string) error {
		if key != "certificates" {
			return s.value(false)
		}
		if _, err := s.keep(key); err != nil {
			return err
		}
		return errEnough
	})
	if errors.Is(err, errEnough) {
		return append(s.kept.Bytes(), '}'), false, nil
	}
	return s.kept.Bytes(), true, err
}

var errEnough = errors.New("the rest is not asked for")

// sifter walks JSON and does not take it apart: what it keeps is parsed by others.
type sifter struct {
	in   *bufio.Reader
	kept bytes.Buffer
}

// next is the next byte that is no white space, left where it is.
func (s *sifter) next() (byte, error) {
	for {
		b, err := s.in.ReadByte()
		if err != nil {
			return 0, early(err)
		}
		if b != ' ' && b != '\t' && b != '\r' && b != '\n' {
			return b, s.in.UnreadByte()
		}
	}
}

// early: what ends before its time is cut.
func early(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

func (s *sifter) expect(want byte) error {
	b, err := s.next()
	if err != nil {
		return err
	}
	if b != want {
		return fmt.Errorf("%q stands where %q is due", b, want)
	}
	_, err = s.in.Discard(1)
	return err
}

// list walks what stands between two brackets, and keeps these.
func (s *sifter) list(begin, end byte, each func() error) error {
	if err := errors.Join(s.expect(begin), s.put(begin)); err != nil {
		return err
	}
	for first := true; ; first = false {
		b, err := s.next()
		if err != nil {
			return err
		}
		if b == end {
			_, err := s.in.Discard(1)
			return errors.Join(err, s.put(end))
		}
		if !first {
			if err := s.expect(','); err != nil {
				return err
			}
		}
		if err := each(); err != nil {
			return err
		}
	}
}

// object walks an object: each reads the value that belongs to a key.
func (s *sifter) object(each func(key string) error) error {
	return s.list('{', '}', func() error {
		key, err := s.key()
		if err != nil {
			return err
		}
		return each(key)
	})
}

// array walks the array that belongs to a key.
func (s *sifter) array(key string, each func() error) error {
	if err := s.name(key); err != nil {
		return err
	}
	return s.list('[', ']', func() error {
		if err := s.comma(); err != nil {
			return err
		}
		return each()
	})
}

func (s *sifter) key() (key string, err error) {
	b, err := s.next()
	if err == nil && b != '"' {
		err = fmt.Errorf("%q stands where a key is due", b)
	}
	if err != nil {
		return "", err
	}
	start := s.kept.Len()
	err = s.value(true)
	raw := bytes.Clone(s.kept.Bytes()[start:])
	s.kept.Truncate(start)
	if err != nil {
		return "", err
	}
	return key, errors.Join(json.Unmarshal(raw, &key), s.expect(':'))
}

// keep takes over a key and its value, which it returns.
func (s *sifter) keep(key string) ([]byte, error) {
	if err := s.name(key); err != nil {
		return nil, err
	}
	start := s.kept.Len()
	err := s.value(true)
	return s.kept.Bytes()[start:], err
}

func (s *sifter) name(key string) error {
	return errors.Join(s.comma(), s.put(fmt.Appendf(nil, "%q:", key)...))
}

// comma separates what comes from what is kept already.
func (s *sifter) comma() error {
	if kept := s.kept.Bytes(); len(kept) > 0 && bytes.IndexByte([]byte("{[:"), kept[len(kept)-1]) < 0 {
		return s.put(',')
	}
	return nil
}

func (s *sifter) put(some ...byte) error {
	if s.kept.Len()+len(some) > MaxAnswer {
		return fmt.Errorf("what is asked of it is larger than %d bytes", MaxAnswer)
	}
	s.kept.Write(some)
	return nil
}

// value reads one value to its end, and keeps it or not.
func (s *sifter) value(keep bool) error {
	if _, err := s.next(); err != nil {
		return err
	}
	for depth, text := 0, false; ; {
		b, err := s.in.ReadByte()
		if err != nil {
			return early(err)
		}
		escaped := byte(0)
		switch {
		case text && b == '\\':
			if escaped, err = s.in.ReadByte(); err != nil {
				return early(err)
			}
		case b == '"':
			text = !text
		case text:
		case b == '{' || b == '[':
			depth++
		case b == '}' || b == ']':
			depth--
		}
		if keep {
			if err := s.put(b); err != nil {
				return err
			}
			if escaped != 0 {
				if err := s.put(escaped); err != nil {
					return err
				}
			}
		}
		if text || depth > 0 {
			continue
		}
		if depth < 0 {
			return fmt.Errorf("%q stands where a value is due", b)
		}
		if b == '"' || b == '}' || b == ']' {
			return nil
		}
		// A number or a word ends where something else begins.
		after, err := s.in.Peek(1)
		if err != nil {
			return early(err)
		}
		switch after[0] {
		case ',', '}', ']', ' ', '\t', '\r', '\n':
			return nil
		}
	}
}
