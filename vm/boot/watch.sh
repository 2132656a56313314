# shellcheck shell=dash disable=SC2154 # variables of other parts
# Watches VLAN devices, a bridge, a bond and a VXLAN under the profile, without and with --ipv6.

# event ADDRESS VID INTERFACE: there is a NEW line of it.
event() { has "\"ip\":\"$1\",.*\"event\":\"NEW\",\"vid\":$2,\"interface\":\"$3\"" /tmp/events; }

as_joe '/usr/sbin/maas-netmon va va.100 br0 bond1 vx0 2>/tmp/log | cat >/tmp/events' &
await grep watching /tmp/log
processes /tmp/log
echo "monitor: $(cat "/proc/$monitor/attr/current"), parser: $(cat "/proc/$parser/attr/current")"
expect 'the monitor is confined by its profile' confined_as "/proc/$monitor/attr/current"
expect 'the parser is confined by both profiles' confined_as "/proc/$parser/attr/current" 'maas-netmon//&maas-netmon//parser'
expect 'the parser has no capability' has '^CapPrm:	0*$' "/proc/$parser/status"
expect 'the parser has no_new_privs' has '^NoNewPrivs:	1' "/proc/$parser/status"
ip neigh flush all # the two ends of the VXLAN know each other already
lan neigh flush all
for i in 0 1 2 3 4; do
	ip netns exec lan ping -c 1 -W 5 10.$i.0.1 >/dev/null || echo "no answer from 10.$i.0.1"
done
await event 10.4.0.2 null vx0
expect 'a parent device: an untagged frame' event 10.0.0.2 null va
expect 'a parent device: a tagged frame with its VID' event 10.1.0.2 100 va
expect 'a VLAN device: a frame without a tag' event 10.1.0.2 null va.100
expect 'a VLAN device: no frame of the parent' hasnt '"ip":"10.0.*va.100' /tmp/events
expect 'a bridge' event 10.2.0.2 null br0
expect 'a bond' event 10.3.0.2 null bond1
expect 'a VXLAN' event 10.4.0.2 null vx0
kill -TERM "$monitor"
wait
expect 'it ends with its counters' has 'counters' /tmp/log
cat /tmp/events /tmp/log

# allmulti 0|1 compares IFF_ALLMULTI of br0. (ip shows the counter as of Linux 6.0.)
allmulti() { [ $(($(cat /sys/class/net/br0/flags) >> 9 & 1)) = "$1" ]; }

rm /tmp/log
as_joe '/usr/sbin/maas-netmon --ipv6 va va.100 br0 bond1 vx0 2>/tmp/log | cat >/tmp/events' &
await grep watching /tmp/log
processes /tmp/log
expect 'IPv6: the monitor is confined by its profile' confined_as "/proc/$monitor/attr/current"
expect 'IPv6: the interface receives all multicast groups' allmulti 1
i=0
for pair in va:wa va.100:wa.100 br0:wb bond1:wc vx0:vx0; do
	ip addr add fd0$i::1/64 dev "${pair%:*}" nodad
	lan addr add fd0$i::2/64 dev "${pair#*:}" nodad
	ip netns exec lan ping6 -c 5 -W 5 fd0$i::1 || echo "no answer from fd0$i::1"
	i=$((i + 1))
done
await event fd04::2 null vx0
expect 'IPv6: a parent device: an untagged frame' event fd00::2 null va
expect 'IPv6: a parent device: a tagged frame with its VID' event fd01::2 100 va
expect 'IPv6: a VLAN device: a frame without a tag' event fd01::2 null va.100
expect 'IPv6: a VLAN device: no frame of the parent' hasnt '"ip":"fd00:.*va.100' /tmp/events
expect 'IPv6: a bridge' event fd02::2 null br0
expect 'IPv6: a bond' event fd03::2 null bond1
expect 'IPv6: a VXLAN' event fd04::2 null vx0
kill -TERM "$monitor"
wait
expect 'IPv6: it ends with its counters' has 'counters.* unsupported=0 invalid=0 ' /tmp/log
expect 'IPv6: the membership is gone' allmulti 0
cat /tmp/events /tmp/log
