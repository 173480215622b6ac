package main

import (
	"crypto/ecdh"
	"crypto/rand"
	"os"
	"path/filepath"
	"strings"
)

// ca makes a root and an intermediate with openssl, so that no fault of the product's own can hide in what it is given.
func (g *game) ca(name string) string {
	dir := filepath.Join(os.Getenv("STATE"), "ca", name)
	if _, err := os.Stat(filepath.Join(dir, "cert-chain.pem")); err != nil {
		g.script("ca.sh", dir, name)
	}
	return dir
}

// started is the CA that the mesh was set up with.
func started() string { return filepath.Join(os.Getenv("STATE"), "ca", "A") }

func read(parts ...string) string {
	text, err := os.ReadFile(filepath.Join(parts...))
	if err != nil {
		panic(failure("harness: " + err.Error()))
	}
	return string(text)
}

func (g *game) write(name, text string) string {
	file := filepath.Join(g.dir, name)
	g.require(os.WriteFile(file, []byte(text), 0o600) == nil, "harness: cannot write", file)
	return file
}

// rotate is the command line that takes the CA in dir; the sealed copy goes into the row's folder.
func (g *game) rotate(dir string, more ...string) []string {
	identity, recipient := age()
	return append([]string{"rotate", "--root", dir + "/root-cert.pem", "--ca-cert", dir + "/ca-cert.pem", "--ca-key", dir + "/ca-key.pem", "--chain", dir + "/cert-chain.pem",
		"--seal-to", recipient, "--identity", g.write("identity.txt", identity+"\n"), "--sealed-file", filepath.Join(g.dir, "sealed.age"), "--yes", "--traffic-baseline", "2s"}, more...)
}

// age makes an identity and its recipient (X25519, age's own bech32 text).
func age() (identity, recipient string) {
	key, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		panic(err)
	}
	return strings.ToUpper(bech32("age-secret-key-", key.Bytes())), bech32("age", key.PublicKey().Bytes())
}

// bech32 is BIP 173's encoding, without its limit on length, as age has it.
func bech32(prefix string, data []byte) string {
	const letters = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
	var five []byte
	acc, bits := 0, 0
	for _, b := range data {
		acc, bits = acc<<8|int(b), bits+8
		for bits >= 5 {
			bits -= 5
			five = append(five, byte(acc>>bits&31))
		}
	}
	if bits > 0 {
		five = append(five, byte(acc<<(5-bits)&31))
	}
	var check []byte
	for i := range len(prefix) {
		check = append(check, prefix[i]>>5)
	}
	check = append(check, 0)
	for i := range len(prefix) {
		check = append(check, prefix[i]&31)
	}
	check = append(append(check, five...), 0, 0, 0, 0, 0, 0)
	sum := uint32(1)
	for _, v := range check {
		top := sum >> 25
		sum = sum&0x1ffffff<<5 ^ uint32(v)
		for i, x := range []uint32{0x3b6a57b2, 0x26508e6d, 0x1ea119fa, 0x3d4233dd, 0x2a1462b3} {
			if top>>i&1 == 1 {
				sum ^= x
			}
		}
	}
	sum ^= 1
	for i := range 6 {
		five = append(five, byte(sum>>(5*(5-i))&31))
	}
	text := prefix + "1"
	for _, v := range five {
		text += letters[v : v+1]
	}
	return text
}
