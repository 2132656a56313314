# shellcheck shell=dash disable=SC2154,SC2016 # variables of other parts, $ for sed and sh
# The commands of fleet.md, as the package has it, with one host in both parts.

page=/usr/share/doc/maas-netmon/fleet.md
ip link set lo up
grep -q engine /etc/hosts || echo '127.0.0.1 engine' >>/etc/hosts
sed -n '/^### To another journal/,/^To read/s/^    //p' $page >/tmp/commands
expect 'fleet.md: the commands of the shipper' lines 3 /tmp/commands
sh -c "$(sed -n 1p /tmp/commands)"
sh -c "exec $(sed -n 2p /tmp/commands)" >/tmp/remote.log 2>&1 &
remote=$!
listening() { ss -Hltn 'sport = 19532' | grep 19532; }
expect 'fleet.md: the central host listens' await listening
sh -c "exec $(sed -n 3p /tmp/commands)" >/tmp/upload.log 2>&1 &
upload=$!
sed -n 's/^    \(journalctl --file.*\)/\1/p' $page >/tmp/read
collected() { sh /tmp/read 2>/dev/null | jq -e "select(._SYSTEMD_UNIT == \"$unit.service\") | .MESSAGE" | grep 10.0.0.1; }
expect 'fleet.md: the central host has the lines' await collected
kill $upload $remote
wait $upload $remote
cat /tmp/remote.log /tmp/upload.log

# netmon-ship and its unit, as they are, with a script in the place of nats.
sed -n '/^#!\/bin\/bash$/,/^```$/{/^```$/!p}' $page >/usr/local/bin/netmon-ship
sed -n '/netmon-ship.service$/,/^$/s/^    //p' $page >/etc/systemd/system/netmon-ship.service
printf '#!/bin/sh\necho "$*" >>"$STATE_DIRECTORY/sent"\n' >/usr/local/bin/nats
chmod +x /usr/local/bin/netmon-ship /usr/local/bin/nats
sent=/var/lib/private/netmon-ship/sent
ip link show br-int >/dev/null 2>&1 || ip link add br-int type veth peer name vbr
ip addr add 10.0.1.1/24 dev vbr
ip link set br-int up
ip link set vbr up
systemctl daemon-reload
expect 'fleet.md: the unit of netmon-ship' eval 'systemctl start netmon-ship && state netmon-ship active'
systemctl start maas-netmon@br-int # after the shipper
logger -t maas-netmon '{"ip":"10.9.9.9","event":"NEW"}'
shipped() {
	ping -c 1 -W 1 -I vbr 10.0.1.9 >/dev/null 2>&1
	grep "netmon.$(hostname).br-int {\"ip\":\"10.0.1.1\"" $sent
}
expect 'fleet.md: a name with a dash is shipped' await shipped
expect 'fleet.md: earlier lines are shipped' has "netmon.$(hostname).va {" $sent
expect 'fleet.md: a forged line is not shipped' hasnt '10.9.9.9' $sent
systemctl stop netmon-ship maas-netmon@br-int
systemctl start netmon-ship maas-netmon@br-int
again() { shipped >/dev/null && test "$(grep -c 'br-int {"ip":"10.0.1.1"' $sent)" -ge 2; }
expect 'fleet.md: started again, it goes on' await again
sed 's/.*Nats-Msg-Id:\([^ ]*\) .*/\1/' $sent | sort | uniq -d >/tmp/twice
expect 'fleet.md: no line is shipped twice' lines 0 /tmp/twice
systemctl stop netmon-ship maas-netmon@br-int
rm -rf /usr/local/bin/netmon-ship /usr/local/bin/nats /etc/systemd/system/netmon-ship.service /var/lib/private/netmon-ship /var/lib/netmon-ship
systemctl daemon-reload
