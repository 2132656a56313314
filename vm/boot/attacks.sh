# shellcheck shell=dash
# The attacker (vm/attacker) replaces the program. It is root with every capability and without
# seccomp, so that only the profile stops it.

cp /attacker /usr/sbin/maas-netmon
for label in unconfined maas-netmon 'maas-netmon//&maas-netmon//parser'; do
	expect "attacks with the label $label" /attacker "$label"
done
