# shellcheck shell=dash disable=SC2154 # variables of other parts
expect 'an instance runs' eval "systemctl start $unit && state $unit active"
expect 'another instance runs' eval "systemctl start maas-netmon@vb && state maas-netmon@vb active"
# What a machine that lost power has left, as the service and metrics.conf make it.
ln -s /run/maas-netmon@vx/arp.prom "$metrics/maas-netmon@vx.prom"
install -o maas-netmon /dev/null "$metrics/.arp-vx.prom.1.2"
kill -KILL "$(main_pid "$unit")"
expect 'the first one waits for its restart' await state "$unit" activating
expect 'remove' dpkg -r maas-netmon
expect 'no process is left' eval '! grep -l "^maas-netmon$" /proc/[0-9]*/comm'
expect 'no instance is active' eval "! systemctl list-units --no-legend --state=active,activating,deactivating 'maas-netmon@*' | grep ."
expect 'purge' dpkg -P maas-netmon
tree >/tmp/after
expect 'no file and no user is left' diff /tmp/before /tmp/after
expect 'no profile is left' eval '! grep maas-netmon /sys/kernel/security/apparmor/profiles'
