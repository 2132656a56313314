# shellcheck shell=dash disable=SC2154 # variables of other parts
expect 'an instance runs' eval "systemctl start $unit && state $unit active"
expect 'remove' dpkg -r maas-netmon
expect 'no process is left' eval '! grep -l "^maas-netmon$" /proc/[0-9]*/comm'
expect 'no instance is active' eval "! systemctl list-units --no-legend --state=active,activating,deactivating 'maas-netmon@*' | grep ."
expect 'purge' dpkg -P maas-netmon
tree >/tmp/after
expect 'no file and no user is left' diff /tmp/before /tmp/after
expect 'no profile is left' eval '! grep maas-netmon /sys/kernel/security/apparmor/profiles'
