package proxy

// ParseLeafSeconds is for the tests beside.
func ParseLeafSeconds(raw []byte) (float64, error) { return parseLeafSeconds(raw) }
