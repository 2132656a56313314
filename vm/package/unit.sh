# shellcheck shell=dash disable=SC2154 # variables of other parts
# An instance of the unit under systemd.

unit=maas-netmon@va
expect 'the unit starts without its interface' eval "systemctl start $unit && state $unit active"
ip link add va type veth peer name vb
ip addr add 10.0.0.1/24 dev vb
ip link set va up
ip link set vb up
# arp_until UNIT ADDRESS sends requests from the address of vb until the journal has a line of it.
arp_until() {
	n=0
	until journal "$1" "\"ip\":\"$2\"" >/dev/null || [ $n = 20 ]; do
		ping -c 1 -W 1 10.0.0.9 >/dev/null 2>&1
		n=$((n + 1))
	done
	journal "$1" "^{\"ip\":\"$2\""
}
expect 'the journal gets the lines' arp_until "$unit" 10.0.0.1
main=$(main_pid "$unit")
expect 'the monitor has its profile' confined_as "/proc/$main/attr/current"
expect 'the parser has both' grep -l '^maas-netmon//&maas-netmon//parser (enforce)' /proc/[0-9]*/attr/current
expect 'the monitor has no capability' has '^CapPrm:.0*$' "/proc/$main/status"
sleep 70
expect 'the watchdog is fed' test "$(main_pid "$unit")" = "$main"
kill -STOP "$main"
restarted() { test "$(systemctl show -P NRestarts "$unit")" -ge 1; }
expect 'systemd restarts an instance that does not feed it' await_for 90 restarted
expect 'the new one is active' await state "$unit" active
expect 'AppArmor has denied nothing' eval '! dmesg | grep DENIED'
expect 'stop' eval "systemctl stop $unit && test \"\$(systemctl show -P Result $unit)\" = success"

# A name with a dash; all interfaces in one unit.
ip link add br-int type veth peer name vbr
expect 'a name with a dash' eval 'systemctl start maas-netmon@br-int && state maas-netmon@br-int active'
expect 'the name is understood' await journal maas-netmon@br-int 'interfaces=\[br-int\]'
expect 'stop it' systemctl stop maas-netmon@br-int
expect 'all interfaces' eval 'systemctl start maas-netmon && arp_until maas-netmon 10.0.0.1'
expect 'stop them' systemctl stop maas-netmon
