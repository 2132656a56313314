//go:build !linux || !(amd64 || arm64)

// This file does not compile: the build stops here on platforms for which the sandbox was never
// tested. "Architectures" in doc/architecture.md has the reasons.

package sandbox

var _ = maas_netmon_is_for_linux_on_amd64_or_arm64_only__see_doc_architecture_md
