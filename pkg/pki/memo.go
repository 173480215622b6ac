package pki

// Memo answers many questions about the same few CAs: what it has read of a CA's
// certificate, and whether one key signed a certificate, by its fingerprint, it does
// not work out again. Whatever else there is of a leaf is judged each time, so that
// the answers are Verify's own. It is not for use by several goroutines at once; its
// memory is that of the distinct certificates behind the leaves, and some hundred
// bytes for each leaf.
type Memo struct {
	read   map[Fingerprint]*fields
	signed map[[2]Fingerprint]signature
	byGo   map[[2]Fingerprint]bool
}

type signature struct {
	answer Answer
	holds  bool
}

// NewMemo remembers nothing yet.
func NewMemo() *Memo {
	return &Memo{read: map[Fingerprint]*fields{}, signed: map[[2]Fingerprint]signature{}, byGo: map[[2]Fingerprint]bool{}}
}

// Verify answers as the function Verify does.
func (m *Memo) Verify(q Question) Answer {
	q.memo = m
	return Verify(q)
}

// fieldsOf reads certificates, and those of CAs once where there is a Memo.
func (q Question) fieldsOf(certs []*Certificate) []*fields {
	if q.memo == nil {
		return fieldsOf(certs)
	}
	all := make([]*fields, len(certs))
	for i, c := range certs {
		if c.Equal(q.Chain[0]) {
			all[i] = readFields(c)
			all[i].memo = q.memo
			continue
		}
		f, ok := q.memo.read[c.Fingerprint()]
		if !ok {
			f = readFields(c)
			f.memo = q.memo
			q.memo.read[c.Fingerprint()] = f
		}
		all[i] = f
	}
	return all
}

// SignedBy answers as the method of a Certificate does.
func (m *Memo) SignedBy(c, signer *Certificate) bool {
	if c == nil || signer == nil {
		return false
	}
	pair := [2]Fingerprint{c.Fingerprint(), signer.Fingerprint()}
	signed, ok := m.byGo[pair]
	if !ok {
		signed = c.SignedBy(signer)
		m.byGo[pair] = signed
	}
	return signed
}
