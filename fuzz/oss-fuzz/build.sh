#!/bin/bash -eu
# Builds each fuzz target for OSS-Fuzz, in its base-builder-go image: see
# https://google.github.io/oss-fuzz/getting-started/new-project-guide/go-lang/
# Run in the root of the project.

# The seeds are the inputs as they are; each target takes one slice of bytes.
go test ./fuzz -run '^TestSeeds$' -args -write-seeds="$WORK/seeds"

targets=$(go test -list '^Fuzz' ./fuzz | grep '^Fuzz')

# The harness that takes the place of package testing. It is no dependency of the
# project: it is added to the copy that is built here, and nowhere else.
printf 'package fuzz\n\nimport _ "github.com/AdamKorcz/go-118-fuzz-build/testing"\n' > fuzz/harness.go
go get github.com/AdamKorcz/go-118-fuzz-build/testing

for target in $targets; do
	compile_native_go_fuzzer maas-netmon/fuzz "$target" "$target"
	zip -jqr "$OUT/${target}_seed_corpus.zip" "$WORK/seeds/$target"
done
