package pairs

import (
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"time"
)

// places are those that a certificate can have in a pair.
func places() []string {
	return []string{"root", "intermediate", "trusted intermediate", "leaf", "bystander in the bundle"}
}

// in makes the usual pair with one oddity, once for each of the places.
func (m *Maker) in(places []string, name string, change func(*Cert)) (all []Pair) {
	for _, place := range places {
		r := &Cert{DN: "root A", To: 1000 * time.Hour}
		i := &Cert{DN: "intermediate A", By: r, To: 500 * time.Hour}
		l := Leaf(i)
		bundle := []*Cert{r}
		switch place {
		case "root":
			change(r)
		case "intermediate":
			change(i)
		case "trusted intermediate":
			change(i)
			bundle = []*Cert{i}
		case "leaf":
			change(l)
		default:
			b := &Cert{DN: "root B", To: 1000 * time.Hour}
			change(b)
			bundle = append(bundle, b)
		}
		all = append(all, m.Pair(name+": "+place, bundle, l, i))
	}
	return all
}

// forms are things written as hardly anybody writes them: names that are none, dates that
// are too early, algorithms with other parameters. Beside each stands one that is whole.
func (m *Maker) forms() []Pair {
	var all []Pair
	presented, anchored := []string{"intermediate", "leaf"}, []string{"root", "intermediate", "leaf"}
	add := func(places []string, name string, change func(*Cert)) {
		all = append(all, m.in(places, name, change)...)
	}
	der := func(digits string) []byte { return must(hex.DecodeString(digits)) }

	// A further name, after the identity where there is one.
	names := func(places []string, name, digits string) {
		add(places, "alternative names: "+name, func(c *Cert) {
			var list []asn1.RawValue
			if c.SPIFFE != "" {
				list = append(list, asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 6, Bytes: []byte(c.SPIFFE)})
			}
			if digits != "" {
				list = append(list, asn1.RawValue{FullBytes: der(digits)})
			}
			c.SPIFFE, c.Extra = "", []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Value: must(asn1.Marshal(list))}}
		})
	}
	names(presented, "no further one", "")
	names(presented, "registered id", "88032a0304")
	names(places(), "registered id of nothing", "8800")
	names(presented, "registered id that is cut", "88022a80")
	names(presented, "other name", "a00d06032a0304a0060c046f746872")
	names(presented, "other name of nothing", "a00706032a0304a000")
	names(presented, "other name of two values", "a00b06032a0304a00405000500")
	names(presented, "address of two bytes", "87026162")
	names(presented, "a kind that is new", "8900")

	from := func(name string, date time.Time) {
		add(anchored, "valid from "+name, func(c *Cert) { c.From = date.Sub(m.Now) })
	}
	from("1800", time.Date(1800, 1, 1, 0, 0, 0, 0, time.UTC))
	from("1950", time.Date(1950, 1, 1, 0, 0, 0, 0, time.UTC))
	from("a second before 1970", time.Unix(-1, 0))
	from("1970", time.Unix(0, 0))

	algorithm := func(places []string, name string, raw []byte, rsa bool) {
		add(places, "algorithm: "+name, func(c *Cert) {
			switch {
			case rsa && c.By == nil:
				c.Key = RSA(0)
			case rsa:
				c.By.Key = RSA(0)
			}
			c.Outer = raw
			c.Edit = func(parts []asn1.RawValue) []asn1.RawValue {
				parts[2] = asn1.RawValue{FullBytes: raw}
				return parts
			}
		})
	}
	algorithm(anchored, "ECDSA with NULL for parameters", der("300c06082a8648ce3d0403020500"), false)
	algorithm(presented, "ECDSA with a number for parameters", der("300d06082a8648ce3d040302020101"), false)
	algorithm(anchored, "RSA without parameters", der("300b06092a864886f70d01010b"), true)
	algorithm(presented, "RSA with NULL for parameters", der("300d06092a864886f70d01010b0500"), true)
	return all
}
