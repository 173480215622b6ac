// A key exchange that withstands quantum computers is half of what a handshake costs, and
// says nothing of trust.
//
//go:debug tlsmlkem=0
package scenario_test
