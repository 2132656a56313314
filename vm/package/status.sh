# shellcheck shell=dash disable=SC2154,SC2016 # variables of other parts; expressions for eval
# The status and the warnings of an instance whose interface is down, without a carrier, up, and
# deleted.

ip link add vd type veth peer name ve
expect 'an interface that is down' systemctl start maas-netmon@vd
expect 'its status' await status maas-netmon@vd '^vd: down; 0 bindings; '
ip link set vd up
expect 'the status without a carrier' await status maas-netmon@vd '^vd: no carrier; '
ip link set ve up
expect 'the status when it is up' await status maas-netmon@vd '^0 bindings; '
ip link del vd
expect 'the status when it is gone' await status maas-netmon@vd '^vd: absent; '
ip link add vd up type veth peer name ve
ip link set ve up
expect 'the status when it is back' await status maas-netmon@vd '^[0-9]* bindings; '
# The messages that are warnings. The kernel may report further states in between.
warnings maas-netmon@vd | sed 's/ state=.*//' | sort -u >/tmp/warnings
printf 'msg="interface %s" interface=vd\n' 'has no carrier' 'is down' 'is gone, waiting for it' >/tmp/expected
expect 'the warnings' diff /tmp/expected /tmp/warnings
systemctl stop maas-netmon@vd
ip link del vd
expect 'a healthy instance' eval 'since=$(date +%s) && sleep 1 && systemctl start $unit && await status $unit "^[0-9]* bindings; "'
systemctl stop "$unit"
expect 'has no warning' eval '! journalctl -u $unit -p warning --since "@$((since + 1))" -o cat | grep .'
