package restart

import (
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// PermissionError is a request that the API server does not allow.
type PermissionError struct {
	Verb, Resource, Namespace string
	Err                       error
}

func (p *PermissionError) Error() string {
	return fmt.Sprintf("not allowed to %s %s in namespace %s: %v", p.Verb, p.Resource, p.Namespace, p.Err)
}

// Unwrap is the API server's own error.
func (p *PermissionError) Unwrap() error { return p.Err }

// permission names the permission that is missing, where err says that one is.
func permission(err error, verb, resource, namespace string) error {
	if apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err) {
		return &PermissionError{Verb: verb, Resource: resource, Namespace: namespace, Err: err}
	}
	return fmt.Errorf("%s %s in namespace %s: %w", verb, resource, namespace, err)
}
