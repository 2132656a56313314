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
# As the manual page has it.
journalctl -u "$unit" -o cat --grep '^{' >/tmp/alone
expect 'the lines alone' eval 'grep "\"ip\":\"10.0.0.1\"" /tmp/alone && ! grep -v "^{" /tmp/alone'
expect 'what needs attention' eval "journalctl -u 'maas-netmon*' -p warning --since yesterday -o cat | grep 'interface is not there.*va$'"
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

# The status and the warnings, for an interface that is missing and for one that is there.
status() { systemctl show -P StatusText "$1" | grep -e "$2"; }
warnings() { journalctl -u "$1" -p warning -o cat; }
expect 'an interface that is not there' systemctl start maas-netmon@vmissing
expect 'the status says so' status maas-netmon@vmissing '^vmissing: absent; '
expect 'and a warning' eval 'warnings maas-netmon@vmissing | grep "interface is not there"'
warnings maas-netmon@vmissing >/tmp/warnings
expect 'the only one' lines 1 /tmp/warnings
systemctl stop maas-netmon@vmissing

# The counters for Debian's node_exporter, as README.Debian has it.
metrics=/var/lib/prometheus/node-exporter
# scrape has the exporter's answer in /tmp/scraped.
scrape() {
	bash -c 'exec 3<>/dev/tcp/127.0.0.1/9100; printf "GET /metrics HTTP/1.0\r\n\r\n" >&3; cat <&3' >/tmp/scraped
}
gunzip -c /usr/share/doc/maas-netmon/README.Debian.gz | sed -n '/prometheus-node-exporter, for all/,/restart/{/^      /p}' >/tmp/readme
expect 'README.Debian has the commands' test "$(wc -l </tmp/readme)" = 4
expect 'an instance without metrics' eval "systemctl start $unit && state $unit active"
# As systemctl edit writes it, also from README.Debian.
mkdir -p "/run/systemd/system/$unit.service.d"
gunzip -c /usr/share/doc/maas-netmon/README.Debian.gz | sed -n '/^      \[Service\]/,/^$/s/^ *//p' >"/run/systemd/system/$unit.service.d/override.conf"
expect 'they work as written' sh -e /tmp/readme
expect 'the instance is active' await state "$unit" active
expect 'with the options of systemctl edit' grep -z -x -e --verbose "/proc/$(main_pid "$unit")/cmdline"
rm -r "/run/systemd/system/$unit.service.d"
systemctl daemon-reload
expect 'its file is there' await grep '^maas_netmon_interface_up{interface="va"} 1' "$metrics/$unit.prom"
reads() { scrape && grep -q "^maas_netmon_interface_up{interface=\"$1\"} 1" /tmp/scraped && grep '^node_textfile_scrape_error 0' /tmp/scraped; }
expect 'the exporter reads it' await_for 30 reads va
systemctl start maas-netmon@vb
expect 'a second instance' await grep '^maas_netmon_interface_up{interface="vb"} 1' "$metrics/maas-netmon@vb.prom"
expect 'the exporter reads both without an error' await_for 30 eval 'reads va && reads vb'
systemctl stop maas-netmon@vb
main=$(main_pid "$unit")
kill -KILL "$main"
back() { test "$(main_pid "$unit")" != "$main" && grep '^maas_netmon_start' "$metrics/$unit.prom"; }
gone() { test -z "$(ls -d "$metrics"/maas-netmon* /run/maas-netmon* 2>/dev/null)"; }
expect 'after a kill the file is there again' await_for 30 back
systemctl stop "$unit"
expect 'no file is left after a stop' gone
mv $metrics $metrics.away
expect 'without the directory of the collector it watches' eval "systemctl start $unit && state $unit active"
systemctl stop "$unit"
mv $metrics.away $metrics
expect 'AppArmor has denied nothing of that' eval '! dmesg | grep DENIED'

# A name with a dash; all interfaces in one unit.
ip link add br-int type veth peer name vbr
expect 'a name with a dash' eval 'systemctl start maas-netmon@br-int && state maas-netmon@br-int active'
expect 'the name is understood' await journal maas-netmon@br-int 'interfaces=\[br-int\]'
expect 'stop it' systemctl stop maas-netmon@br-int
escaped=maas-netmon@$(systemd-escape br-int)
expect 'the name as systemd-escape writes it' systemctl start "$escaped"
expect 'has its metrics' await grep '^maas_netmon_interface_up{interface="br-int"} 0' "$metrics/$escaped.prom"
systemctl stop "$escaped"
expect 'removes them' gone
expect 'all interfaces' eval 'systemctl start maas-netmon && arp_until maas-netmon 10.0.0.1'
expect 'stop them' systemctl stop maas-netmon

# The commands of make uninstall: there are no files with the prefix that vm/system has given it.
expect 'enable instances and the service' systemctl enable --now "$unit" maas-netmon@vb maas-netmon
expect 'make uninstall' sh -e /root/uninstall
expect 'stops each' eval "state $unit inactive && state maas-netmon@vb inactive && state maas-netmon inactive"
expect 'disables each' eval '! ls /etc/systemd/system/*.wants/maas-netmon*'
