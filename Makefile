# maas-netmon. `make help` lists the targets.

# For packagers to set.
DESTDIR =
PREFIX  = /usr
# The mode of the program's file. 0711 is best, see privsep/start.go; in a snap it must be readable
# (doc/snap.md).
MODE    = 0711
UNITDIR = $(PREFIX)/lib/systemd/system
# With an explicit directory, git reads a clone that belongs to another user. Unlike describe
# --dirty, this does not write to the index.
GIT     = git --no-optional-locks --git-dir=.git --work-tree=.
VERSION = $(shell $(GIT) describe --tags --always 2>/dev/null)$(shell test -z "$$($(GIT) status --porcelain --untracked-files=no 2>/dev/null)" || echo -dirty)

# If the installed Go is too old to download a newer one, the Go in build/.go is used: see
# .ci/install-deps.
GO = $(shell test -x build/.go/bin/go && echo $(CURDIR)/build/.go/bin/go || echo go)

# First the Go that the project has fetched, for the tests that call it. Last the directories of
# mandoc, setcap and apparmor_parser, which may be missing in an ordinary user's PATH.
export PATH := $(CURDIR)/build/.go/bin:$(PATH):/usr/local/sbin:/usr/sbin:/sbin

# For every command of Go, including those that list packages: otherwise Go asks git for the state
# of the checkout, and fails in a clone that belongs to another user.
export GOFLAGS += -buildvcs=false

# osusergo, netgo: no plug-ins of the C library's name service in a process with a privilege.
TAGS       = osusergo,netgo
# The binary contains no path, no time and no state of the checkout: the same source gives the same
# bytes. It is position-independent, and its relocation table is read-only before main.
BUILDFLAGS = -trimpath -buildmode=pie -tags $(TAGS) \
             -ldflags '-s -w -extldflags=-Wl,-z,relro,-z,now -X maas-netmon/internal/cli.version=$(VERSION)'
SUDO       = $(shell test "$$(id -u)" = 0 || echo sudo)

# Files that root has built, for example by sudo make demo, get the owner of the clone.
GIVE = @test "$$(id -u)" != 0 || for f in bin build/.go; do test ! -e $$f || chown -Rh --reference=Makefile $$f; done; \
	test "$$(id -u)" != 0 || test ! -d build || chown --reference=Makefile build

# Builds of the program whose sandbox differs: sandbox/rules_bench.go, sandbox/trap.go.
TEST_TAGS = bench trap

# Not in go.mod, which lists only the dependencies of the shipped program.
STATICCHECK = honnef.co/go/tools/cmd/staticcheck@v0.8.2
# Writes a CycloneDX SBOM from the module information in the binary.
CYCLONEDX = github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod@v1.10.0
# One line per package, then the skips with their reasons, then the failures with their output.
# build/test.json has everything.
GOTESTSUM = $(GO) run gotest.tools/gotestsum@v1.13.0 --format-hide-empty-pkg --jsonfile build/test.json --raw-command --

# The time for which `make fuzz` runs each target.
FUZZTIME = 10s

# The time for which `make bench` runs each benchmark.
BENCHTIME = 0.5s

# Options of `make bench-peers`, such as -runs 7 -case idle,start.
BENCHPEERS =

# The parts of build/ that make clean keeps.
FETCHED = .go distros prometheus vm

UNITS    = maas-netmon@.service maas-netmon.service
DOCS     = CHANGELOG.md doc/output.md doc/event.schema.json doc/fleet.md doc/interfaces.md
EXAMPLES = systemd/metrics.conf doc/alerts.yml doc/grafana.json

# The suites of `make test-distros`: bookworm first, see .ci/distro.
DISTROS = bookworm bullseye trixie sid

# The kernels of `make test-arm64`: one has pages of 4 KiB, the other of 16 KiB.
ARM64 = 6.12: newest:16k

# The kernel of `make test-vm`, and those of `make test-kernels`: see vm/kernel.
KERNEL  = 6.1
KERNELS = 5.10 6.1 6.12 newest

# The packages to test with the race detector. The tests of the others run the program itself, whose
# sandbox does not allow the race detector.
RACE_PACKAGES = ./capture ./capture/packetsock ./cmd/... ./internal/app ./internal/cli ./internal/control ./internal/monitor ./internal/parserproc ./linkmon ./parser ./privsep ./report ./tracker

.DEFAULT_GOAL = build
.PHONY: help deps go build static run demo test unit test-fleet check bench bench-peers fuzz mutate cover vuln sbom install uninstall \
        lint deb deb-arm64 reproducible test-vm test-kernels \
        test-distros test-arm64 test-containers release-check clean distclean FORCE

help: ## list the targets
	@sed -n 's/^\([a-z0-9-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

deps: ## install the Debian packages that are missing (sudo only then)
	@.ci/install-deps

go:
	@.ci/install-go

build: deps bin/maas-netmon ## build bin/maas-netmon

bin/maas-netmon: FORCE
	$(GO) build $(BUILDFLAGS) -o $@ ./cmd/maas-netmon
	$(GIVE)

static: deps ## build bin/maas-netmon-static, which needs no library of the machine it runs on
	$(GO) build -trimpath -buildmode=pie -tags $(TAGS) \
		-ldflags '-s -w -linkmode=external "-extldflags=-static-pie -Wl,-z,relro,-z,now" -X maas-netmon/internal/cli.version=$(VERSION)' \
		-o bin/maas-netmon-static ./cmd/maas-netmon

run: build ## watch an interface: make run IFACE=eth0
	@test -n "$(IFACE)" || { echo 'usage: make run IFACE=eth0' >&2; exit 2; }
	$(SUDO) setcap cap_net_raw=p bin/maas-netmon
	bin/maas-netmon $(IFACE)

demo: build ## see it work: hosts that talk ARP in private network namespaces
	$(GO) build -o bin/demo ./internal/demo
	$(GIVE)
	bin/demo bin/maas-netmon

test: build ## run all tests, as root or, in user namespaces, as anyone: four minutes
	@.ci/install-deps test
	@mkdir -p build
	NETMON_BIN=$(CURDIR)/bin/maas-netmon $(GOTESTSUM) $(GO) test -json -count=1 -timeout 30m -tags $(TAGS) ./...

unit: go ## run the tests that need nothing of the kernel
	$(GO) test -count=1 -tags $(TAGS) ./internal/app ./internal/cli ./internal/control ./internal/monitor ./internal/mutate ./parser/... ./report/... ./tracker/...

test-fleet: build ## lose no line when a NATS server is killed: doc/fleet.md
	cd integration/fleet && $(GO) vet ./... && $(GO) run $(STATICCHECK) ./...
	cd integration/fleet && NETMON_BIN=$(CURDIR)/bin/maas-netmon timeout 120 $(GO) test -count=1 -v ./...

check: build ## format, vet, staticcheck, unit tests with the race detector: half a minute, cold two minutes
	@bad=$$(find . -name build -prune -o -name '*.go' -exec "$$($(GO) env GOROOT)/bin/gofmt" -l {} +) || exit; test -z "$$bad" || { echo "not gofmt-clean: $$bad"; exit 1; }
	for tag in shipped $(TEST_TAGS); do \
		$(GO) vet -tags $(TAGS),$$tag ./... && $(GO) run $(STATICCHECK) -tags $(TAGS),$$tag ./... || exit; \
	done
	@mkdir -p build
	$(GOTESTSUM) $(GO) test -json -race -tags $(TAGS) $(RACE_PACKAGES)
	GO=$(GO) .ci/vuln

vuln: deps ## look for known vulnerabilities in what the program calls
	GO=$(GO) .ci/vuln

sbom: build ## list the modules in the binary, with versions and hashes: build/maas-netmon.cdx.json
	@mkdir -p build
	$(GO) run $(CYCLONEDX) bin -json -std -noserial -notimestamp -version $(VERSION) \
		-output build/maas-netmon.cdx.json bin/maas-netmon

bench: deps ## run the benchmarks
	$(GO) test -run '^$$' -bench . -benchmem -benchtime $(BENCHTIME) ./...

bench-peers: build ## measure beside tcpdump, arpwatch and others, half an hour: sudo make bench-peers
	@mkdir -p build
	$(GO) build -o bin/benchpeers ./internal/benchpeers
	bin/benchpeers $(BENCHPEERS) -json build/bench-peers.json -svg build/bench-peers.svg bin/maas-netmon

fuzz: deps ## run every fuzz target in turn: make fuzz FUZZTIME=30s
	GO=$(GO) FUZZTIME=$(FUZZTIME) fuzz/run

mutate: deps ## break each rule once and see that a test fails: most of an hour
	GO=$(GO) $(GO) run ./internal/mutate

cover: build ## test coverage over all packages: build/cover.html and a total
	@.ci/install-deps test
	@mkdir -p build
	$(GO) test -count=1 -timeout 30m -tags $(TAGS) -coverpkg=./... -coverprofile=build/cover.out ./...
	$(GO) tool cover -html=build/cover.out -o build/cover.html
	$(GO) tool cover -func=build/cover.out | tail -n 1

install: ## install what make has built into DESTDIR; without one, make the unit's user and give the file its capability
	@test -x bin/maas-netmon || { echo 'There is no bin/maas-netmon to install. Run make first, without sudo.' >&2; exit 1; }
# Not readable, so that the parser need not be started from a copy: see privsep/start.go.
	install -D -m $(MODE) bin/maas-netmon $(DESTDIR)$(PREFIX)/sbin/maas-netmon
	install -D -m 0644 doc/maas-netmon.8 $(DESTDIR)$(PREFIX)/share/man/man8/maas-netmon.8
	install -D -m 0644 completions/maas-netmon.bash $(DESTDIR)$(PREFIX)/share/bash-completion/completions/maas-netmon
	install -D -m 0644 completions/_maas-netmon $(DESTDIR)$(PREFIX)/share/zsh/vendor-completions/_maas-netmon
	install -D -m 0644 completions/maas-netmon.fish $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/maas-netmon.fish
	install -d $(DESTDIR)$(PREFIX)/share/doc/maas-netmon/examples $(DESTDIR)$(UNITDIR)
	install -m 0644 $(DOCS) $(DESTDIR)$(PREFIX)/share/doc/maas-netmon
	install -m 0644 $(EXAMPLES) $(DESTDIR)$(PREFIX)/share/doc/maas-netmon/examples
	install -D -m 0644 systemd/maas-netmon.sysusers $(DESTDIR)$(PREFIX)/lib/sysusers.d/maas-netmon.conf
	for unit in $(UNITS); do \
		sed 's|/usr/sbin/|$(PREFIX)/sbin/|' systemd/$$unit >$(DESTDIR)$(UNITDIR)/$$unit && chmod 0644 $(DESTDIR)$(UNITDIR)/$$unit || exit; \
	done
	test -n "$(DESTDIR)" || ! command -v systemd-sysusers || systemd-sysusers $(PREFIX)/lib/sysusers.d/maas-netmon.conf
	test -n "$(DESTDIR)" || setcap cap_net_raw=p $(PREFIX)/sbin/maas-netmon

uninstall: ## remove what make install has installed, with the same variables; the user maas-netmon stays
# systemctl stop knows patterns, disable does not: the template stands for all its instances.
	test -n "$(DESTDIR)" || ! test -d /run/systemd/system || { \
		systemctl stop 'maas-netmon@*.service' maas-netmon.service; systemctl disable maas-netmon@.service maas-netmon.service || true; }
	rm -f $(DESTDIR)$(PREFIX)/sbin/maas-netmon $(DESTDIR)$(PREFIX)/share/man/man8/maas-netmon.8 \
		$(DESTDIR)$(PREFIX)/share/bash-completion/completions/maas-netmon \
		$(DESTDIR)$(PREFIX)/share/zsh/vendor-completions/_maas-netmon \
		$(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/maas-netmon.fish \
		$(DESTDIR)$(PREFIX)/lib/sysusers.d/maas-netmon.conf $(UNITS:%=$(DESTDIR)$(UNITDIR)/%)
	rm -rf $(DESTDIR)$(PREFIX)/share/doc/maas-netmon
	test -n "$(DESTDIR)" || ! test -d /run/systemd/system || systemctl daemon-reload

lint: deps ## check what is not Go: scripts, manual page, unit, AppArmor profile
	@.ci/install-deps lint
	GO=$(GO) .ci/lint

deb: ## build the Debian package into build/ and run lintian on it
	@.ci/install-deps deb
	.ci/deb build

deb-arm64: ## cross-build the package for arm64 into build/arm64, in a Debian 12 that it creates: as root
	@.ci/install-deps deb distros
	.ci/deb build/arm64 arm64

reproducible: deb ## build the package again in another place, time, zone: it must be the same
	.ci/reproducible

test-vm: build ## boot a Debian kernel with AppArmor in qemu: half a minute; make test-vm KERNEL=newest
	@.ci/install-deps vm
	GO=$(GO) vm/run bin/maas-netmon $(KERNEL)

test-kernels: build ## the same, and the attacks, on each of KERNELS: two hours
	@.ci/install-deps vm
	for k in $(KERNELS); do \
		GO=$(GO) KERNELFRESH=1 vm/run bin/maas-netmon $$k && GO=$(GO) vm/suite amd64 $$k || exit; \
	done

test-distros: ## run the demo and all tests as a new user on each of DISTROS: an hour, as root
	@.ci/install-deps distros
	for s in $(DISTROS); do .ci/distro $$s || exit; done

test-arm64: deb-arm64 ## run package, tests, attacks and demo on arm64 kernels in qemu: hours, as root
	@.ci/install-deps vm arm64
	for k in $(ARM64); do PACKAGE=$$(echo build/arm64/maas-netmon_*.deb) GO=$(GO) vm/suite arm64 $${k%:*} "$${k#*:}" || exit; done

test-containers: static ## build the image of Containerfile and run it with podman: a minute, as root
	@.ci/install-deps containers
	.ci/containers

release-check: deb ## test the package from installation to purge, with systemd in qemu: ten minutes, as root
	@.ci/install-deps vm
	vm/system build/maas-netmon_*.deb $(KERNEL)

clean: ## remove what was built, and keep what was fetched: a Go, kernels, systems
	rm -rf bin
	test ! -d build || find build -mindepth 1 -maxdepth 1 $(FETCHED:%=! -name %) -exec rm -rf {} +

distclean: ## remove that too
	rm -rf bin build
