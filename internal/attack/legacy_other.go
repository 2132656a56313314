//go:build !amd64

package attack

// legacy is empty: other architectures have one entry point and no old calls.
var legacy []Act
