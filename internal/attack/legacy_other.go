//go:build !amd64

package attack

// legacy is empty where the kernel has one entry and no old calls.
var legacy []Act
