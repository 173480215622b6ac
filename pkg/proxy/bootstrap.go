package proxy

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// ControlPlaneTLS is how a proxy secures its own connection to the control plane:
// the TLS context of Envoy's static cluster xds-grpc.
type ControlPlaneTLS struct {
	// Address is where the cluster connects to: HOST:PORT, or the path of the
	// agent's socket.
	Address string `json:"address,omitempty"`
	// Agent is true where Envoy speaks to its agent over a socket in the pod and
	// the agent to istiod: Envoy has no TLS context then (istio 1.8 and later).
	Agent bool `json:"agent,omitempty"`
	// TLS is false where the connection is not secured at all.
	TLS bool `json:"tls"`
	// CertificatePath, KeyPath and RootPath are files in the proxy's container, or
	// the names of SDS secrets ("sds:default").
	CertificatePath string `json:"certificatePath,omitempty"`
	KeyPath         string `json:"keyPath,omitempty"`
	RootPath        string `json:"rootPath,omitempty"`
	// SANs are the names of which the control plane must have one: a SPIFFE ID on
	// Citadel meshes, a DNS name later.
	SANs []string `json:"sans,omitempty"`
}

// ErrNoControlPlane is returned for a bootstrap without a cluster xds-grpc.
var ErrNoControlPlane = errors.New("the proxy's bootstrap has no cluster xds-grpc")

// tlsContext is Envoy's UpstreamTlsContext as far as it names files and secrets,
// in the forms of its v2 and v3 API.
type tlsContext struct {
	Common struct {
		Certificates oneOrMore[struct {
			Chain source `json:"certificate_chain"`
			Key   source `json:"private_key"`
		}] `json:"tls_certificates"`
		CertificateSDS oneOrMore[named]   `json:"tls_certificate_sds_secret_configs"`
		Validation     *validationContext `json:"validation_context"`
		ValidationSDS  *named             `json:"validation_context_sds_secret_config"`
		Combined       *struct {
			Default validationContext `json:"default_validation_context"`
			SDS     *named            `json:"validation_context_sds_secret_config"`
		} `json:"combined_validation_context"`
	} `json:"common_tls_context"`
}

type named struct {
	Name string `json:"name"`
}

type validationContext struct {
	TrustedCA source `json:"trusted_ca"`
	// Names are those of Envoy up to 1.21, Matchers and Typed those after it.
	Names    []string  `json:"verify_subject_alt_name"`
	Matchers []matcher `json:"match_subject_alt_names"`
	Typed    []struct {
		Matcher matcher `json:"matcher"`
	} `json:"match_typed_subject_alt_names"`
}

type matcher struct {
	Exact  string `json:"exact"`
	Prefix string `json:"prefix"`
	Suffix string `json:"suffix"`
}

func (m matcher) String() string {
	switch {
	case m.Exact != "":
		return m.Exact
	case m.Prefix != "":
		return m.Prefix + "*"
	case m.Suffix != "":
		return "*" + m.Suffix
	}
	return ""
}

func (v validationContext) sans() []string {
	all := slices.Clone(v.Names)
	for _, m := range v.Matchers {
		all = append(all, m.String())
	}
	for _, t := range v.Typed {
		all = append(all, t.Matcher.String())
	}
	return slices.DeleteFunc(all, func(name string) bool { return name == "" })
}

// oneOrMore is a repeated field: the templates of Istio 1.0 write a single object
// where the API has a list, and Envoy's parser takes both.
type oneOrMore[T any] []T

// UnmarshalJSON reads a list, or the one element of it.
func (l *oneOrMore[T]) UnmarshalJSON(raw []byte) error {
	var list []T
	if err := json.Unmarshal(raw, &list); err == nil {
		*l = list
		return nil
	}
	var one T
	if err := json.Unmarshal(raw, &one); err != nil {
		return err
	}
	*l = []T{one}
	return nil
}

type bootstrapCluster struct {
	Name            string      `json:"name"`
	TLSContext      *tlsContext `json:"tls_context"` // up to Envoy 1.13
	TransportSocket *struct {
		Config *tlsContext `json:"typed_config"`
	} `json:"transport_socket"`
	Hosts      []address `json:"hosts"` // up to Envoy 1.8
	Assignment struct {
		Endpoints []struct {
			Endpoints []struct {
				Endpoint struct {
					Address address `json:"address"`
				} `json:"endpoint"`
			} `json:"lb_endpoints"`
		} `json:"endpoints"`
	} `json:"load_assignment"`
}

type address struct {
	Socket struct {
		Address string `json:"address"`
		Port    int    `json:"port_value"`
	} `json:"socket_address"`
	Pipe struct {
		Path string `json:"path"`
	} `json:"pipe"`
}

func (a address) String() string {
	if a.Pipe.Path != "" {
		return a.Pipe.Path
	}
	if a.Socket.Address == "" {
		return ""
	}
	return fmt.Sprintf("%s:%d", a.Socket.Address, a.Socket.Port)
}

func (c bootstrapCluster) address() address {
	if len(c.Hosts) > 0 {
		return c.Hosts[0]
	}
	for _, locality := range c.Assignment.Endpoints {
		for _, e := range locality.Endpoints {
			return e.Endpoint.Address
		}
	}
	return address{}
}

// ParseBootstrap reads the TLS context to the control plane from a config dump:
// /config_dump?mask=bootstrap, or a whole one, which is what an Envoy answers that
// knows no mask (before 1.13). Inline material in it is not looked at.
func ParseBootstrap(raw []byte) (*ControlPlaneTLS, error) {
	var dump struct {
		Configs []struct {
			Bootstrap struct {
				Static struct {
					Clusters []bootstrapCluster `json:"clusters"`
				} `json:"static_resources"`
			} `json:"bootstrap"`
		} `json:"configs"`
	}
	if err := json.Unmarshal(raw, &dump); err != nil {
		return nil, fmt.Errorf("parsing the bootstrap: %w", err)
	}
	for _, config := range dump.Configs {
		for _, c := range config.Bootstrap.Static.Clusters {
			if c.Name == "xds-grpc" {
				return c.controlPlane(), nil
			}
		}
	}
	return nil, ErrNoControlPlane
}

func (c bootstrapCluster) controlPlane() *ControlPlaneTLS {
	at := c.address()
	found := &ControlPlaneTLS{Address: at.String(), Agent: at.Pipe.Path != ""}
	context := c.TLSContext
	if context == nil && c.TransportSocket != nil {
		context = c.TransportSocket.Config
	}
	if context == nil {
		return found
	}
	found.TLS = true
	common := context.Common
	for _, certificate := range common.Certificates {
		found.CertificatePath, found.KeyPath = certificate.Chain.place(), certificate.Key.place()
	}
	for _, secret := range common.CertificateSDS {
		found.CertificatePath = "sds:" + secret.Name
	}
	validation, sds := common.Validation, common.ValidationSDS
	if common.Combined != nil {
		validation, sds = &common.Combined.Default, common.Combined.SDS
	}
	if validation != nil {
		found.RootPath, found.SANs = validation.TrustedCA.place(), validation.sans()
	}
	if sds != nil {
		found.RootPath = "sds:" + sds.Name
	}
	return found
}

// place is where a data source has its bytes from; what is inline is not shown.
func (s source) place() string {
	if s.Filename == "" && strings.TrimSpace(s.InlineBytes+s.InlineString) != "" {
		return "inline"
	}
	return s.Filename
}
