# shellcheck shell=dash disable=SC2154,SC2016 # variables of other parts; expressions of others
# A host takes over an address amid a flood of invented ones. The unit's --max-rate keeps the lines
# below the limit of journald, so that the takeover is in the journal soon.

# suppressed prints the messages of journald about those that it dropped.
suppressed() { journalctl -b -o cat _COMM=systemd-journal | grep '^Suppressed .* messages from maas-netmon@'; }
# known starts the unit and waits until it has reported 10.0.0.5.
known() {
	systemctl restart "$unit" || return
	since=$(date +%s)
	await eval '/root/package/flood.pl vb && journalctl -u "$unit" --since "@$since" -o cat | grep "^{\"ip\":\"10.0.0.5\".*NEW"'
}
# taken_over MAC: the takeover by MAC is in the journal; prints how long it took.
taken_over() {
	line=$(journalctl -u "$unit" -o short-unix | grep "\"ip\":\"10.0.0.5\",\"mac\":\"$1\".*\"event\":\"MOVED\"") || return
	echo "$line" | awk -v sent="$(cat /tmp/sent)" '{ printf "%.0f s after the frame\n", $1 - sent; exit $1 - sent > 10 }'
}
# reported prints the number of lines of the unit since known.
reported() { journalctl -u "$unit" --since "@$since" -o cat | grep -c '^{'; }

expect '10.0.0.5 is known' known
expect 'a flood with a takeover in it' eval '/root/package/flood.pl vb 4000 41 >/tmp/sent'
expect 'the takeover is in the journal within seconds' await_for 15 taken_over 02:00:00:00:01:29
expect 'how soon' taken_over 02:00:00:00:01:29
expect 'the lines of the flood are, too' test "$(reported)" -gt 1000
expect 'a stop amid the lines' systemctl stop "$unit"
expect 'no process is left' eval '! grep -l "^maas-netmon$" /proc/[0-9]*/comm'
# journald reports what it has suppressed at the first message of the unit after 30 s.
sleep 31
expect '10.0.0.5 is known again' known
journalctl --sync
expect 'journald has suppressed nothing' eval '! suppressed'

# The same without the program's limit, so that the test above could fail. With more free space,
# journald allows some times more messages than its default of 10,000.
mkdir -p "/run/systemd/system/$unit.service.d"
printf '[Service]\nEnvironment=OPTIONS=--max-rate=0\nLogRateLimitBurst=3000\n' >"/run/systemd/system/$unit.service.d/rate.conf"
systemctl daemon-reload
expect '10.0.0.5 is known a third time' known
expect 'a second flood' eval '/root/package/flood.pl vb 4000 42 >/tmp/sent'
sleep 31
systemctl restart "$unit"
journalctl --sync
expect 'without the limit journald suppresses messages' suppressed
systemctl stop "$unit"
rm -r "/run/systemd/system/$unit.service.d"
systemctl daemon-reload
