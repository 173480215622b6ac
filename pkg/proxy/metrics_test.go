package proxy

import "testing"

func TestParseLeafSeconds(t *testing.T) {
	got, err := parseLeafSeconds([]byte("# HELP x\nistio_agent_cert_expiry_seconds{resource_name=\"ROOTCA\"} 12.5\nistio_agent_cert_expiry_seconds{resource_name=\"default\"} 86292.4\n"))
	if err != nil || got != 86292.4 {
		t.Errorf("%v, %v", got, err)
	}
	for _, bad := range []string{"", "istio_agent_cert_expiry_seconds{resource_name=\"default\"} soon\n"} {
		if _, err := parseLeafSeconds([]byte(bad)); err == nil {
			t.Errorf("%q passed", bad)
		}
	}
}
