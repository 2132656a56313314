# shellcheck shell=dash disable=SC2034,SC2154,SC2016,SC2086 # variables of other parts and for eval
# Beside MAAS's debs, whose package has the same name: made-up packages with their names, versions
# and dependencies, in a repository that apt knows.

repository=/srv/repository

# made_up NAME VERSION [DEPENDENCY] puts a package into the repository.
made_up() {
	d=/tmp/made-up
	rm -rf $d
	mkdir -p $d/DEBIAN $repository
	printf 'Package: %s\nVersion: 1:%s\nArchitecture: all\nMaintainer: nobody <nobody@example.com>\nDescription: made up\n' "$1" "$2" >$d/DEBIAN/control
	if [ -n "${3-}" ]; then
		echo "Depends: $3" >>$d/DEBIAN/control
	else
		mkdir -p $d/usr/sbin
		echo "MAAS $2" >"$d/usr/sbin/$1"
	fi
	dpkg-deb --root-owner-group -b $d "$repository/$1_$2.deb" >/dev/null
	{
		dpkg-deb -f "$repository/$1_$2.deb"
		printf 'Filename: ./%s_%s.deb\nSize: %s\n' "$1" "$2" "$(stat -c %s "$repository/$1_$2.deb")"
		printf 'SHA256: %s\n\n' "$(sha256sum "$repository/$1_$2.deb" | cut -d ' ' -f 1)"
	} >>$repository/Packages
}
# maas VERSION: MAAS has released this version.
maas() {
	made_up maas-netmon "$1"
	made_up maas-rack-controller "$1" "maas-netmon (= 1:$1)"
	apt-get -q update
}
# installed NAME VERSION: the package is installed in this version.
installed() { test "$(dpkg-query -W -f '${db:Status-Status} ${Version}' "$1")" = "installed $2"; }
# contents TEXT FILE
contents() { test "$(cat "$2")" = "$1"; }
get() { apt-get -q -y "$@"; }

ours=$(dpkg-deb -f /root/package.deb Version)
echo "deb [trusted=yes] file:$repository ./" >/etc/apt/sources.list
expect 'MAAS 3.7 is released' maas 3.7
expect 'MAAS 3.7 is installed' get install maas-rack-controller

# This package does not take the place of MAAS's by accident.
expect 'apt does not replace it' eval '! get install /root/package.deb'
expect 'dpkg does not replace it' eval '! dpkg -i /root/package.deb >/tmp/dpkg 2>&1'
expect 'the package says why' has "MAAS's package of this name is installed (1:3.7)" /tmp/dpkg
expect 'MAAS 3.7 is installed still' eval 'installed maas-netmon 1:3.7 && installed maas-rack-controller 1:3.7 && contents "MAAS 3.7" $program'
expect 'nothing is broken' apt-get -q check

# The diversion of doc/compatibility.md.
expect 'divert' dpkg-divert --local --rename --divert $program.maas --add $program
dpkg-deb -x /root/package.deb /tmp/ours
expect 'the binary' install -m 0711 "/tmp/ours$program" $program
expect 'MAAS 3.8 is released' maas 3.8
expect 'apt upgrades MAAS' eval 'get dist-upgrade && installed maas-netmon 1:3.8 && installed maas-rack-controller 1:3.8'
expect 'the binary stays' cmp "/tmp/ours$program" $program
expect 'MAAS has its own beside it' contents 'MAAS 3.8' $program.maas
expect 'it would run, started by root' eval "$program --check | grep '^It would run'"
expect 'undo' eval "rm $program && dpkg-divert --local --rename --remove $program && contents 'MAAS 3.8' $program"
expect 'remove MAAS' get purge maas-rack-controller maas-netmon

# A host that has this package and gets MAAS's repository.
expect 'install this package' dpkg -i /root/package.deb
apt-mark hold maas-netmon
expect 'apt does not replace it while it is held' eval 'get dist-upgrade && installed maas-netmon "$ours"'
apt-mark unhold maas-netmon
expect 'apt replaces it otherwise' eval 'get dist-upgrade && installed maas-netmon 1:3.8 && contents "MAAS 3.8" $program'
expect 'remove what has replaced it' get purge maas-netmon
