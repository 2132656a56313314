# shellcheck shell=dash disable=SC2154,SC2016 # variables of other parts; expressions for eval
# An instance that waits for 1,023 more interfaces: LimitNOFILE= and MemoryMax= are enough for the
# largest number.

mkdir -p "/run/systemd/system/$unit.service.d"
printf '[Service]\nEnvironment="OPTIONS=%s"\n' "$(seq -f n%g -s ' ' 1023)" >"/run/systemd/system/$unit.service.d/options.conf"
systemctl daemon-reload
journalctl --sync
since=$(date +%s)
expect '1,024 interfaces' eval "systemctl start $unit && state $unit active"
expect 'the status counts those that are missing' await status "$unit" 'absent; 1018 more are not up; '
line() {
	/root/package/flood.pl vb
	journalctl -u "$unit" --since "@$since" -o cat | grep '^{"ip":"10.0.0.5".*"interface":"va"'
}
expect 'the one that is there gives its line' await line
sockets() { find "/proc/$(main_pid "$unit")/fd" -lname 'socket:*' | wc -l; }
expect 'each has its socket' eval 'n=$(sockets) && echo $n && test $n -ge 1024'
systemctl show -p MemoryCurrent "$unit"
expect 'stop it' eval "systemctl stop $unit && test \"\$(systemctl show -P Result $unit)\" = success"
rm -r "/run/systemd/system/$unit.service.d"
systemctl daemon-reload
