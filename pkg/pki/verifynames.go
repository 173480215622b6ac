package pki

import (
	"slices"
	"strings"
)

// constraintsHold applies the name constraints of every certificate of the path,
// the anchor's too, to those below it (boringssl crypto/x509/v3_ncons.cc):
// self-issued ones are passed over, but for the leaf. Kinds of names that are
// not judged here are not guessed at.
func constraintsHold(path []*fields, usage Usage) (Answer, bool) {
	for i := len(path) - 1; i > 0; i-- {
		if !path[i].constrained {
			continue
		}
		for j, below := range path[:i] {
			if j > 0 && below.selfIssued() {
				continue
			}
			if answer, ok := path[i].allows(below); !ok {
				return answer, false
			}
		}
		// Where there is no alternative name, a common name that looks like a host name
		// is refused. A CA that is asked about by itself is no peer and needs none.
		if usage != AnyUsage && !path[0].hasNames && len(path[0].subjectAs) > 0 {
			return depends("the leaf has no alternative name, and %s has name constraints", path[i].Subject()), false
		}
	}
	return Answer{}, true
}

// allows reports whether all names of below are within f's constraints.
func (f *fields) allows(below *fields) (Answer, bool) {
	names := slices.Clone(below.names)
	if below.subjectAs != "" {
		names = append(names, generalName{tag: tagDirectory, value: below.subject})
	}
	for _, n := range names {
		permitted, forbidden := ofKind(f.permitted, n.tag), ofKind(f.forbidden, n.tag)
		if len(permitted)+len(forbidden) == 0 {
			continue
		}
		all := append(permitted, forbidden...)
		if n.tag != tagURI && n.tag != tagDNS && n.tag != tagDirectory || slices.ContainsFunc(all, func(s subtree) bool { return s.bounded }) {
			return depends("%s has name constraints of a kind that is not judged here", f.Subject()), false
		}
		if n.tag == tagDirectory {
			if !directoryWithin(n.value, permitted, forbidden) {
				return refused("the name %s is not within the name constraints of %s", below.Subject(), f.Subject()), false
			}
			continue
		}
		yes, no := 0, 0
		for _, strict := range []bool{false, true} {
			if within(n, permitted, forbidden, strict) {
				yes++
			} else {
				no++
			}
		}
		switch {
		case yes == 0:
			return refused("%s is not within the name constraints of %s", n.value, f.Subject()), false
		case no > 0:
			return depends("whether %s is within the name constraints of %s differs between releases", n.value, f.Subject()), false
		}
	}
	// An email address may stand in the subject, too: it never does in a mesh.
	if below.subjectAs != "" && len(ofKind(f.permitted, tagEmail))+len(ofKind(f.forbidden, tagEmail)) > 0 {
		return depends("%s has name constraints of a kind that is not judged here", f.Subject()), false
	}
	return Answer{}, true
}

func ofKind(all []subtree, tag int) []subtree {
	var some []subtree
	for _, s := range all {
		if s.base.tag == tag {
			some = append(some, s)
		}
	}
	return some
}

// directoryWithin: a distinguished name is within those that begin as it does, in the
// canonical form (boringssl crypto/x509/v3_ncons.cc, nc_dn).
func directoryWithin(name []byte, permitted, forbidden []subtree) bool {
	as, err := canonicalName(name)
	if err != nil { // it was read before
		return false
	}
	begins := func(s subtree) bool {
		base, err := canonicalName(s.base.value)
		return err == nil && strings.HasPrefix(as, base)
	}
	return (len(permitted) == 0 || slices.ContainsFunc(permitted, begins)) && !slices.ContainsFunc(forbidden, begins)
}

// within judges one name. BoringSSL reads URIs strictly since April 2026
// (b84dc6064) and refuses what is not a host name, loosely before.
func within(n generalName, permitted, forbidden []subtree, strict bool) bool {
	match := func(s subtree) (matches, ok bool) {
		if n.tag == tagURI {
			return uriWithin(string(n.value), string(s.base.value), strict)
		}
		return dnsWithin(string(n.value), string(s.base.value), strict)
	}
	inside := len(permitted) == 0
	for _, s := range permitted {
		m, ok := match(s)
		if !ok {
			return false
		}
		inside = inside || m
	}
	for _, s := range forbidden {
		if m, ok := match(s); !ok || m {
			return false
		}
	}
	return inside
}

// uriWithin: a leading period means one label or more, none means the host itself
// (RFC 5280 4.2.1.10). ok is false for what cannot be compared.
func uriWithin(uri, base string, strict bool) (matches, ok bool) {
	scheme, rest, found := strings.Cut(uri, ":")
	if !found || !strings.HasPrefix(rest, "//") {
		return false, false
	}
	rest = rest[2:]
	var host string
	if strict {
		host = rest
		if i := strings.IndexAny(rest, "/?#"); i >= 0 {
			host = rest[:i]
		}
		var port string
		host, port, _ = strings.Cut(host, ":")
		host, base = strings.TrimSuffix(host, "."), strings.TrimSuffix(base, ".")
		if scheme == "" || !isLetter(scheme[0]) || strings.Trim(port, "0123456789") != "" || !isHost(host) || !isHost(strings.TrimPrefix(base, ".")) {
			return false, false
		}
	} else {
		if host, _, found = strings.Cut(rest, ":"); !found {
			host, _, _ = strings.Cut(rest, "/")
		}
		if host == "" {
			return false, false
		}
	}
	host, base = lower(host), lower(base)
	if strings.HasPrefix(base, ".") {
		return len(host) > len(base) && strings.HasSuffix(host, base), true
	}
	return host == base, true
}

// dnsWithin: a star or a final period is compared differently by different
// releases, so the strict reading has no answer for them.
func dnsWithin(name, base string, strict bool) (matches, ok bool) {
	if base == "" {
		return true, true
	}
	if strict && (strings.HasPrefix(name, "*") || strings.HasSuffix(name, ".") || strings.HasSuffix(base, ".")) {
		return false, false
	}
	name, base = lower(strings.TrimSuffix(name, ".")), lower(strings.TrimSuffix(base, "."))
	if strings.HasPrefix(base, ".") {
		return strings.HasSuffix(name, base), true
	}
	return name == base || strings.HasSuffix(name, "."+base), true
}

// isHost: labels of letters, digits and hyphens, and not a number.
func isHost(s string) bool {
	labels := strings.Split(s, ".")
	for _, label := range labels {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for i := range len(label) {
			if c := label[i]; !isLetter(c) && (c < '0' || c > '9') && c != '-' {
				return false
			}
		}
	}
	last := lower(labels[len(labels)-1])
	if hex, is := strings.CutPrefix(last, "0x"); is {
		return strings.Trim(hex, "0123456789abcdef") != ""
	}
	return strings.Trim(last, "0123456789") != ""
}

func isLetter(c byte) bool { return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' }

// lower is for ASCII letters only.
func lower(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, s)
}
