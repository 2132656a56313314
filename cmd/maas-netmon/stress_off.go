//go:build !stress

package main

// stress begins what a build with the tag stress, which is for tests, does besides the
// work once a process is confined (stress.go).
func stress(process string) {}
