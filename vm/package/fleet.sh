# shellcheck shell=dash disable=SC2154,SC2016 # variables of other parts; expressions of others
# The commands of doc/fleet.md as they are in the package. This machine is its own central host.

page=/usr/share/doc/maas-netmon/fleet.md
# block TEXT prints the first indented block after the line that has the text.
block() { awk -v text="$1" 'index($0, text) { on = 1; next } on && sub(/^    /, "") { print; seen = 1; next } on && seen { exit }' $page; }
# commands TEXT N runs that block, which must have N lines.
commands() {
	block "$1" >/tmp/block
	lines "$2" /tmp/block && sh -e /tmp/block
}
cp -a /etc/systemd /etc/nats-server.conf /tmp/
cp -a /etc/hosts /tmp/ 2>/dev/null
echo '127.0.0.1 engine' >>/etc/hosts
host=$(uname -n)
host=${host%%.*}
ip link set br-int up
ip link set vbr up

# Follow the lines of units that start later.
block 'and the log to the journal of the' >/tmp/follow
expect 'follow the lines' systemd-run --unit=follow -p StandardOutput=file:/tmp/followed bash /tmp/follow
expect 'an instance starts' systemctl start "$unit"
sent() { /root/package/flood.pl "$1" && grep '^{"ip":"10.0.0.5"' /tmp/followed; }
expect 'its lines follow' await sent vb
expect 'every line that follows is one' eval '! grep -v "^{" /tmp/followed'
systemctl stop follow

# To another journal.
expect 'the central journal' commands 'On the central host' 9
expect 'a host that ships its journal' commands 'On each other host' 11
# central ADDRESS: the central journal has a line with the address; prints their number.
central() {
	commands 'To read the lines on the central host' 1 | jq -r '.MESSAGE | strings' | grep -c "^{\"ip\":\"$1\""
}
expect 'the lines arrive' await central 10.0.0.5
systemctl stop systemd-journal-remote.socket systemd-journal-remote.service
ip addr add 10.0.0.77/24 dev vb
expect 'a line while the central host is away' await eval 'ping -c 1 -W 1 -I 10.0.0.77 10.0.0.9; journal "$unit" "\"ip\":\"10.0.0.77\""'
retried() { test "$(systemctl show -P NRestarts systemd-journal-upload)" -ge 1; }
expect 'the uploader exits and is started again' await retried
systemctl start systemd-journal-remote.socket
expect 'the line arrives afterwards' await central 10.0.0.77
expect 'at most twice' eval 'test "$(central 10.0.0.77)" -le 2'
systemctl stop systemd-journal-upload systemd-journal-remote.socket systemd-journal-remote.service "$unit"

# To a NATS server. Debian has the server, but not its command line.
install /root/package/nats /usr/local/bin/nats
block 'header Nats-Msg-Id' | grep -v sync_interval >/tmp/server # Debian's is too old for that
expect 'the NATS server' sh -e /tmp/server
expect 'it listens' await bash -c ': >/dev/tcp/127.0.0.1/4222'
expect 'the stream' commands 'and, as soon as it listens' 1
awk '/^```bash/ { on = 1; next } on && /^```/ { exit } on' $page >/tmp/netmon-ship
install -m 755 /tmp/netmon-ship /usr/local/bin/netmon-ship
expect 'the shipper' commands 'lines that it has. As a service' 14
info() { nats request '$JS.API.STREAM.INFO.NETMON' '{"subjects_filter":">"}'; }
stored() { info | jq .state.messages; }
# subject INTERFACE prints the number of lines in the subject of an interface.
subject() { info | jq -e --arg s "netmon.$host.$1" '.state.subjects[$s]'; }
# all: the stream has as many lines as the journal, and more than MORE_THAN.
all() {
	journalctl --sync
	journalctl -t maas-netmon -o cat >/tmp/lines
	test "$(stored)" = "$(grep -c '^{' /tmp/lines)" && test "$(stored)" -gt "$1"
}
expect 'the lines of before are shipped' await all 2
expect 'in the subject of the instance' subject va
# arrives INTERFACE N: after a request on its peer, the subject has N lines.
arrives() { /root/package/flood.pl vbr && test "$(subject "$1")" = "$2"; }
expect 'an instance that starts later' systemctl start maas-netmon@br-int
expect 'a name with a dash' await arrives br-int 1
expect 'stop it' systemctl stop maas-netmon@br-int
expect 'the name as systemd-escape writes it' systemctl start "maas-netmon@$(systemd-escape br-int)"
expect 'is the same subject' await arrives br-int 2
expect 'stop that' systemctl stop "maas-netmon@$(systemd-escape br-int)"
expect 'all interfaces' systemctl start maas-netmon
expect 'each has its subject' await arrives br-int 3
info | jq -r '.state.subjects | keys[]' | sed "s/^netmon.$host.//" >/tmp/subjects
expect 'the subjects are interfaces' eval '! grep -v -x -e va -e vb -e br-int -e vbr /tmp/subjects'
expect 'somebody writes a line with the same identifier' su joe -c 'echo "{\"ip\":\"10.6.6.6\"}" | systemd-cat -t maas-netmon'
systemctl kill -s KILL nats-server
systemctl stop nats-server
ip addr add 10.0.0.78/24 dev vb
expect 'a line while the server is away' await eval 'ping -c 1 -W 1 -I 10.0.0.78 10.0.0.9; journal maas-netmon "\"ip\":\"10.0.0.78\""'
systemctl stop maas-netmon
systemctl start nats-server
journalctl --sync
total=$(journalctl -t maas-netmon -o json | jq -r 'select(._SYSTEMD_UNIT // "" | startswith("maas-netmon")) | .MESSAGE' | grep -c '^{')
expect 'every line is stored once' await eval 'test "$(stored)" = "$total"'
systemctl stop netmon-ship
rm /var/lib/private/netmon-ship/cursor
systemctl start netmon-ship
cursor() { test "$(cat /var/lib/private/netmon-ship/cursor)" = "$(journalctl -t maas-netmon -o json | jq -r 'select(.MESSAGE | startswith("{")) | select(._SYSTEMD_UNIT // "" | startswith("maas-netmon")) | .__CURSOR' | tail -n 1)"; }
expect 'without its cursor the shipper sends all of them again' await_for 120 cursor
expect 'the server has recognized each' test "$(stored)" = "$total"

# Without a journal.
awk '/^## No journal/ { on = 1 } on && /^```bash/ { in_script = 1; next } in_script && /^```/ { exit } in_script' $page |
	sed 's/eth0/va/g' >/tmp/pipe
shipped=$(subject va)
expect 'the loop that reads a pipe' eval 'lines 5 /tmp/pipe && systemd-run --unit=pipe bash /tmp/pipe'
piped() { /root/package/flood.pl vb && test "$(subject va)" -gt "$shipped"; }
expect 'ships its lines' await piped
systemctl stop pipe

# Leave no file of this part.
systemctl stop netmon-ship nats-server
rm -rf /etc/systemd /etc/nats-server.conf /etc/hosts /var/lib/nats /var/lib/private/* /var/lib/netmon-ship /usr/local/bin/nats /usr/local/bin/netmon-ship
cp -a /tmp/systemd /tmp/nats-server.conf /etc/
[ ! -e /tmp/hosts ] || cp -a /tmp/hosts /etc/
ip addr del 10.0.0.77/24 dev vb
ip addr del 10.0.0.78/24 dev vb
systemctl daemon-reload
