package pki

import "strings"

// LintRule is one fault that is looked for.
type LintRule struct {
	// ID is stable: documentation and scripts refer to it.
	ID string
	// Severity is the highest that the rule's findings have; of certificates that
	// are merely trusted beside the CA's own it may be lower.
	Severity Severity
	// About says what is wrong, in a line.
	About string
	// Hint says what to do.
	Hint string
}

// LintRules are all rules of LintFiles, LintAuthority and LintPair. They are data:
// the facts behind them are istiod's loader (istio 1.30.3
// security/pkg/pki/util/keycertbundle.go:330), Go's and BoringSSL's verifiers, and
// what real Envoys were seen to do (see verifyenvoy.go).
func LintRules() []LintRule {
	const anew = "have it issued anew"
	return []LintRule{
		// The bytes of the files.
		{"empty-file", SeverityError, "a file is empty", "give the whole file; of a CA's files only the chain's may have no content at all"},
		{"byte-order-mark", SeverityError, "a file begins with a byte order mark", "save it as plain ASCII"},
		{"crlf", SeverityError, "a file has CR line ends", "rewrite it with LF line ends (dos2unix): istiod before 1.30 compares bundles byte for byte, and the bytes travel to every proxy"},
		{"no-newline", SeverityWarning, "a file's last line has no newline", "end it with a newline: whatever is appended would be glued to it"},
		{"not-pem", SeverityError, "a file has no PEM block", "convert it: openssl x509 -inform der -in FILE -out FILE.pem"},
		{"json", SeverityError, "a file is JSON, as cfssl, Vault and AWS answer", "take the PEM out of its fields: cfssljson -bare ca < FILE, or jq -r .data.certificate FILE (Vault), jq -r .Certificate FILE (AWS)"},
		{"pkcs12", SeverityError, "a file is PKCS#12 (.p12, .pfx)", "take it apart: openssl pkcs12 -in FILE -nokeys | openssl x509, and -nocerts -noenc for the key"},
		{"keystore", SeverityError, "a file is a Java key store", "convert it: keytool -importkeystore -srckeystore FILE -destkeystore FILE.p12 -deststoretype PKCS12, then openssl pkcs12"},
		{"pkcs7", SeverityError, "a file, or a block of it, is PKCS#7 (.p7b)", "take the certificates out: openssl pkcs7 -in FILE -print_certs -out FILE.pem (with -inform der where it is no text)"},
		{"utf-16", SeverityError, "a file is in UTF-16, as some shells on Windows write", "save it as plain ASCII: iconv -f UTF-16 -t ASCII"},
		{"base64", SeverityError, "a file is in base64 once more", "decode it: base64 -d FILE"},
		{"escaped-newlines", SeverityError, "a file has \\n as text where its lines should end", "write real line ends: printf '%b' \"$(cat FILE)\", or jq -r"},
		{"manifest", SeverityError, "a file is a Kubernetes manifest", "take the entry out: kubectl get secret NAME -o jsonpath='{.data.ca-cert\\.pem}' | base64 -d; and destroy the manifest, which holds the key"},
		{"request", SeverityError, "a file holds a certificate request", "have it signed, and give the certificate that comes back: 'kubectl meshca ca csr' makes one"},
		{"crl", SeverityError, "a file of certificates holds a CRL", "leave it out: istiod reads CRLs from ca-crl.pem alone, and Envoy then demands one for every certificate"},
		{"cut-block", SeverityError, "a PEM block is cut, or two are glued together without a newline", "every block begins and ends on a line of its own: mend the file where its parts were put together"},
		{"blank-line", SeverityError, "a certificate's block has a blank line in it: Envoy takes what stands before it for headers, and refuses the whole file; Go reads it", "leave blank lines out: sed '/^[[:space:]]*$/d' FILE"},
		{"pem-headers", SeverityError, "a certificate's block has headers: Go passes over the certificate, Envoy may not", "leave them out, and the blank line behind them: sed '/^[[:space:]]*$/d; /^[A-Za-z-]*:/d' FILE"},
		{"text-outside", SeverityWarning, "a file has text outside its PEM blocks", "leave the blocks alone: openssl x509 -in FILE; the bytes of a bundle travel to every proxy"},
		{"not-text", SeverityError, "a file of certificates has bytes that are no text (UTF-8): istiod sends the file as text with every certificate, and none can be sent", "leave the blocks alone: openssl x509 -in FILE -out FILE.pem; such bytes stand in names and comments outside of them"},
		{"key-in-certificates", SeverityError, "a private key stands among certificates", "take it out at once: istiod hands these files to every proxy and namespace"},
		{"foreign-block", SeverityError, "a PEM block is not a certificate", "keep CERTIFICATE blocks alone: openssl x509 -in FILE rewrites a TRUSTED CERTIFICATE"},
		{"unparsable", SeverityError, "a certificate cannot be parsed: istiod passes it over or refuses it", anew},
		{"negative-serial", SeverityError, "a certificate's serial number is negative: Go refuses it since 1.23, Envoy takes it", anew + " with a positive serial number"},
		{"duplicate", SeverityWarning, "a certificate stands in a file twice", "leave one of each"},
		{"key-readable", SeverityWarning, "others than its owner may read the file of the private key: whoever has the key is the CA", "chmod 600 FILE"},
		{"encrypted-key", SeverityError, "the private key is encrypted: istiod cannot read it", "write it without a passphrase: openssl pkey -in FILE -out PLAIN, and destroy PLAIN after the rotation"},
		{"bad-key", SeverityError, "the private key cannot be read", "give one RSA or ECDSA key as PKCS#1, PKCS#8 or SEC1 in PEM, and nothing else"},
		{"der-key", SeverityError, "the private key is DER", "convert it: openssl pkey -inform der -in FILE -out FILE.pem"},
		{"openssh-key", SeverityError, "the private key is in OpenSSH's own form", "convert a copy of it: ssh-keygen -p -m PEM -f COPY"},
		{"public-key", SeverityError, "a public key stands where the private one should", "give the private key that it was made with"},
		{"signer-not-first", SeverityError, "the certificate that signs is not the first of its file", "put it first: the file was written from the root down"},
		{"ec-parameters", SeverityWarning, "EC PARAMETERS stand before the key: istiod reads the first block alone, and refuses the file as it is", "leave them out (openssl ecparam -genkey -noout); meshca itself writes the key without"},
		{"extra-certificates", SeverityInfo, "the certificate's file holds more than the one that signs", "the first signs; the others are taken as the beginning of the chain"},
		{"root-in-chain", SeverityInfo, "the chain holds a self-signed root", "nothing: meshca leaves it out, peers find roots in their bundles"},
		{"signer-not-in-chain", SeverityWarning, "the chain does not hold the certificate that signs: istiod used with these files as they are would not present it", "put it first into the chain's file; meshca itself does so"},
		{"chain-order", SeverityWarning, "the chain is not in order", "put the certificate that signs first, and behind each the one that issued it"},

		// One CA.
		{"incomplete", SeverityError, "the signing certificate or the root is missing", "give all four: --root, --ca-cert, --ca-key and --chain"},
		{"wrong-key", SeverityError, "the key is not that of the certificate", "give the key that the certificate was made for"},
		{"no-path", SeverityError, "the CA does not chain to its root bundle as istiod and agents verify it (Go)", "give in --chain every certificate between it and the root, and the right root in --root"},
		{"path-length", SeverityError, "a path length allows no leaf below this chain, though istiod would load it", "have the certificate above issued with a greater path length, or without"},
		{"envoy-refuses", SeverityError, "Envoy would refuse the chain", "'kubectl meshca ca verify --for envoy' judges it in other arrangements"},
		{"envoy-depends", SeverityWarning, "releases of Envoy differ over the chain, or it cannot be told", "leave one certificate for each name in the root bundle"},
		{"not-a-ca", SeverityError, "a certificate of the chain is no CA (basicConstraints)", "have it issued with CA:TRUE"},
		{"no-cert-sign", SeverityError, "a CA's key usage does not allow to sign certificates", "have it issued with keyCertSign"},
		{"no-subject", SeverityError, "a CA has no subject: peers find an issuer by its name", "have it issued with a name of its own"},
		{"weak-signature", SeverityError, "a certificate is signed with MD5 or SHA-1: istiod refuses it, Envoy may not", "have it signed with SHA-256 or better"},
		{"weak-key", SeverityError, "an RSA key has less than 2048 bits", "use 2048 bits or more"},
		{"huge-key", SeverityError, "an RSA key has more than 8192 bits: Go, and so every agent, refuses a handshake that presents it", "use 4096 bits or less"},
		{"odd-curve", SeverityError, "a key's curve is not P-256, P-384 or P-521", "use P-256 or P-384"},
		{"odd-key", SeverityError, "a key is neither RSA nor ECDSA", "istiod signs with no other"},
		{"expired", SeverityError, "a certificate has expired", "have it renewed"},
		{"not-yet-valid", SeverityError, "a certificate is not valid yet", "wait, or have it dated back an hour: clocks differ"},
		{"expires-soon", SeverityWarning, "a certificate expires within 60 days", "have it renewed: the next rotation is near"},
		{"outlives-root", SeverityWarning, "a certificate of the chain ends after its root", "have it issued to end before its root: tools that watch its end would warn too late"},
		{"no-ski", SeverityWarning, "a CA has no subject key identifier", "have it issued with one: peers tell issuers of one name apart by it"},
		{"no-aki", SeverityWarning, "a certificate has no authority key identifier", "have it issued with one: peers tell issuers of one name apart by it"},
		{"aki-serial", SeverityWarning, "an authority key identifier names the issuer's serial number: a root re-issued with the same key would not fit it", "have it issued with the key id alone (openssl: authorityKeyIdentifier=keyid)"},
		{"narrow-usage", SeverityError, "an extended key usage does not hold both client and server: Envoy asks every intermediate for it, Go the root too", "have it issued without, or with both"},
		{"name-constraints", SeverityWarning, "a CA has name constraints: every SPIFFE ID and DNS name of the mesh must be within", "hold the trust domain and istiod's DNS names against them: 'kubectl meshca ca verify --spiffe ID --dns NAME'"},
		{"root-signs", SeverityWarning, "the root itself signs workloads: its key lies in the cluster", "make an intermediate, and keep the root's key elsewhere"},
		{"stray-certificate", SeverityWarning, "a certificate of the chain issues none of the others, and would be presented in every handshake", "leave it out"},
		{"duplicate-root", SeverityWarning, "the root bundle holds a certificate more than once", "leave one of each"},
		{"root-not-a-ca", SeverityError, "a certificate of the root bundle is no CA", "take it out, or have it issued with CA:TRUE"},
		{"root-not-self-signed", SeverityWarning, "the root bundle holds what is no root: Envoy anchors at it, Go and ztunnel may, and a root above it in the bundle is asked for too", "keep self-signed roots alone in the bundle; of a new CA's own file meshca presents what stands below a root in it, and does not trust it"},

		// Several of one name or key: an old and a new CA, or roots of one bundle.
		{"same-name", SeverityWarning, "two CAs have one name and two keys: only the key identifiers tell them apart", "give the new one a name of its own"},
		{"same-name-no-ids", SeverityError, "two CAs have one name, two keys and not all key identifiers: a peer that trusts both takes the wrong one in a part of all handshakes", "give the new one a name of its own, and key identifiers"},
		{"same-key", SeverityInfo, "two certificates are of one name and key: this is a re-issue", "drop the old one from all bundles before it expires: a peer that has both may pick it, whatever its date"},
		{"same-key-other-ski", SeverityError, "two certificates are of one name and key, and differ in the subject key identifier: what the one issued is refused under the other", "re-issue it with the old one's identifier, byte for byte"},
		{"same-key-aki-serial", SeverityError, "a root is re-issued, and what it issued names its old serial number: that is refused under the new one", "have the intermediates issued anew with the key id alone first, or give the new root a new name and key"},
		{"key-reused", SeverityWarning, "the new CA has the key of the old one under another name", "make a new key: whoever has the old one has the new one"},
		{"same-signer", SeverityInfo, "the new certificate that signs is the old one", "nothing changes but trust"},
		{"root-known", SeverityInfo, "the new root is in the old bundle already", "its distribution may be quick: proxies may trust it already"},
		{"shorter-life", SeverityWarning, "the new root ends before the old one", "is it the right one?"},
		{"constraints-differ", SeverityWarning, "the new CA has name constraints that the old one has not", "hold the trust domain and istiod's DNS names against them: 'kubectl meshca ca verify --spiffe ID --dns NAME'"},
		{"intermediate-trusted", SeverityWarning, "a certificate of the new chain that is no root is in the old bundle", "take it out of the bundle: Envoy anchors at it, and goes on to whatever stands above it there"},
		{"no-cross-path", SeverityInfo, "the old root's path length is too short for a cross certificate and the new chain below it", "cross-signing is not possible; the bundle strategies are"},
	}
}

// linter gathers findings.
type linter struct {
	rules map[string]LintRule
	found []Finding
}

func newLinter() *linter {
	l := &linter{rules: map[string]LintRule{}, found: []Finding{}}
	for _, r := range LintRules() {
		l.rules[r.ID] = r
	}
	return l
}

// add records a finding of the rule's own severity.
func (l *linter) add(id, subject, message string) {
	l.addAs(l.rules[id].Severity, id, subject, message)
}

// addAs records a finding of another severity. The same finding is recorded once.
func (l *linter) addAs(severity Severity, id, subject, message string) {
	f := Finding{ID: id, Severity: severity, Subject: subject, Message: message, Hint: l.rules[id].Hint}
	for _, g := range l.found {
		if f == g {
			return
		}
	}
	l.found = append(l.found, f)
}

// unparsable records a certificate that Go refuses. Windows' CA calls its PKCS#7 a
// CERTIFICATE (openssl crypto/pem/pem_lib.c, check_pem, reads it so).
func (l *linter) unparsable(c *Certificate, subject string) {
	switch {
	case strings.Contains(c.Err.Error(), "negative serial"):
		l.add("negative-serial", subject, "its serial number is negative: istiod and agents refuse it")
		return
	case isSignedData(c.DER):
		l.add("pkcs7", subject, "it is PKCS#7 in a block that is called CERTIFICATE")
		return
	}
	l.add("unparsable", subject, "it cannot be parsed: "+c.Err.Error())
}
