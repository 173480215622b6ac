package proxy

import "bytes"

// ParseLeafSeconds is for the tests beside.
func ParseLeafSeconds(raw []byte) (float64, error) { return parseLeafSeconds(raw) }

// SiftSecrets is for the tests beside.
func SiftSecrets(raw []byte) ([]byte, error) {
	kept, _, err := siftSecrets(bytes.NewReader(raw))
	return kept, err
}
