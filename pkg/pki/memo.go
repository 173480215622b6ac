package pki

// Memo answers many questions about the same few CAs: what it has read of a CA's
// certificate, and whether one CA signed another, it does not work out again. Each
// leaf is judged in full, its signature included, so that the answers are Verify's
// own. It is not for use by several goroutines at once; its memory is that of the
// distinct certificates behind the leaves.
type Memo struct {
	read   map[Fingerprint]*fields
	signed map[[2]Fingerprint]signature
}

type signature struct {
	answer Answer
	holds  bool
}

// NewMemo remembers nothing yet.
func NewMemo() *Memo {
	return &Memo{read: map[Fingerprint]*fields{}, signed: map[[2]Fingerprint]signature{}}
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
