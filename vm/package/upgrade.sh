# shellcheck shell=dash disable=SC2154 # variables of other parts
# Upgrades and downgrades, with an instance that runs.

systemctl start "$unit"
systemctl enable maas-netmon@vb # so that systemd knows it
main=$(main_pid "$unit")
expect 'upgrade' dpkg -i /root/newer.deb
expect 'what ran is restarted' eval "state $unit active && ! test -e /proc/$main"
main=$(main_pid "$unit")
expect 'it is the installed program' test "$(readlink "/proc/$main/exe")" = "$program"
expect 'it has its profile' confined_as "/proc/$main/attr/current"
expect 'what was stopped stays stopped' state maas-netmon@vb inactive
expect 'the unit of all interfaces, too' state maas-netmon inactive
expect 'the capability is kept' capable
expect 'the mode is kept' mode root:maas-netmon 710
printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
chmod +x /usr/sbin/policy-rc.d
expect 'downgrade where policy-rc.d forbids a restart' dpkg -i /root/package.deb
expect 'what ran runs on' test "$(main_pid "$unit")" = "$main"
rm /usr/sbin/policy-rc.d
dpkg-statoverride --update --add root joe 0750 "$program"
expect 'upgrade with a dpkg-statoverride' dpkg -i /root/newer.deb
expect 'the override holds' mode root:joe 750
expect 'the capability is kept under it' capable
dpkg-statoverride --remove "$program"
expect 'upgrade without it' dpkg -i /root/newer.deb
expect 'the mode is the usual one' mode root:maas-netmon 710
systemctl start maas-netmon
all=$(main_pid maas-netmon)
expect 'the service of all interfaces runs' test "$all" != 0
expect 'upgrade while it runs' dpkg -i /root/newer.deb
expect 'it is restarted' eval "state maas-netmon active && ! test -e /proc/$all"
systemctl stop maas-netmon
