# shellcheck shell=dash disable=SC2154 # variables of other parts
# MAAS's snap: root starts the program from a readable file on a read-only file system, without a
# file capability. The profile refuses what snapd's refuses. Missing here is snapd's seccomp filter,
# of which integration/snap_test.go has a simulation.

snap=/snap/maas/x1
mkdir -p $snap
mount -t tmpfs tmpfs $snap
mkdir -p $snap/usr/sbin
cp /maas-netmon $snap/usr/sbin/
chmod 0755 $snap/usr/sbin/maas-netmon
mount -o remount,ro $snap
echo 'root:x:0:0::/:/bin/sh
snap_daemon:x:584788:584788::/nonexistent:/bin/false
nobody:x:65534:65534::/:/bin/sh' >/tmp/passwd
mount -o bind /tmp/passwd /etc/passwd

# These have no rule: /proc/self/uid_map and mountinfo, /proc/sys/fs, the execution of a file in
# memory, ptrace, CAP_SETPCAP, CAP_KILL, CAP_DAC_OVERRIDE. owner: not the files of a process that is
# not dumpable, because those belong to root.
apparmor_parser -r -K <<'EOF'
abi <abi/3.0>,
include <tunables/global>
profile snap.maas.rackd flags=(attach_disconnected, mediate_deleted) {
  /snap/maas/** mrix,
  /{bin,opt}/** mrix,
  /etc/ld.so.cache r,
  /{,usr/}lib{,32,64}/** mr,
  /etc/{passwd,group,nsswitch.conf,localtime} r,
  /usr/share/zoneinfo/** r,
  / r,
  /tmp/** rwk,
  /dev/{null,zero,full,tty,console,ttyS*} rw,
  /dev/{,u}random r,
  /sys/kernel/mm/transparent_hugepage/hpage_pmd_size r,
  @{PROC}/ r,
  @{PROC}/@{pid}/{,fd/,task/,stat,statm,status} r,
  @{PROC}/@{pid}/task/@{tid}/{stat,statm,status} r,
  owner @{PROC}/@{pid}/{cgroup,limits,maps} r,
  capability chown,
  capability net_admin,
  capability net_raw,
  capability setgid,
  capability setuid,
  network,
  unix peer=(label=snap.maas.*),
  unix (create, getattr, getopt, setopt, shutdown),
  signal peer=snap.maas.*,
  signal (receive) peer=unconfined,
}
EOF
expect 'snap: the profile is enforced' has '^snap.maas.rackd (enforce)' /sys/kernel/security/apparmor/profiles

# in_snap COMMAND runs a shell command as a service of the snap.
in_snap() {
	echo "$*" >/tmp/script
	env SNAP_NAME=maas SNAP_INSTANCE_NAME=maas SNAP=$snap MAAS_PATH=$snap \
		sh -c 'echo exec snap.maas.rackd >/proc/self/attr/exec; exec /bin/sh /tmp/script'
}
# start_in_snap starts the program and sets monitor and parser.
start_in_snap() {
	rm -f /tmp/log /tmp/events
	in_snap "exec $snap/usr/sbin/maas-netmon va 2>/tmp/log >/tmp/events" &
	starter=$!
	await grep watching /tmp/log || cat /tmp/log
	processes /tmp/log
}
ended() { ! [ -e "/proc/$monitor" ] && ! [ -e "/proc/$parser" ]; }
denied() { dmesg | grep 'apparmor="DENIED".*profile="snap.maas.rackd"' | grep "$@"; }

dmesg -c >/dev/null
expect 'snap: the profile hides uid_map' eval '! in_snap cat /proc/self/uid_map'
expect 'snap: the profile hides the descriptors of others' eval '! in_snap readlink /proc/1/fd/0'
in_snap $snap/usr/sbin/maas-netmon --check va >/tmp/check 2>&1
expect 'snap: --check: it would run' has '^It would run' /tmp/check
expect 'snap: --check: as snap_daemon' has 'user 584788, group 584788' /tmp/check

start_in_snap
for p in "$monitor" "$parser"; do
	expect 'snap: it has the profile' confined_as "/proc/$p/attr/current" snap.maas.rackd
	expect 'snap: it is snap_daemon' has '^Uid:	584788	584788	584788	584788$' "/proc/$p/status"
	expect 'snap: in no other group' has '^Gid:	584788	584788	584788	584788$' "/proc/$p/status"
	expect 'snap: it has no capability' has '^CapPrm:	0*$' "/proc/$p/status"
	expect 'snap: it has no_new_privs' has '^NoNewPrivs:	1' "/proc/$p/status"
	expect 'snap: it has a seccomp filter' has '^Seccomp:	2' "/proc/$p/status"
	expect 'snap: it is not dumpable' test "$(stat -c %u "/proc/$p/status")" = 0
done
ip neigh flush all
lan neigh flush all
ip netns exec lan ping -c 1 -W 5 10.0.0.1 >/dev/null
expect 'snap: a line' await grep '"ip":"10.0.0.2",.*"event":"NEW","vid":null' /tmp/events
kill -STOP "$parser"
kill -TERM "$monitor"
expect 'snap: it ends with a parser that is stopped' await ended

ends=0
for i in 1 2 3 4 5 6 7 8 9 10; do
	start_in_snap
	kill -TERM "$monitor"
	await ended && has 'msg=counters' /tmp/log && ends=$i
done
expect 'snap: ten starts and stops' test "$ends" = 10
start_in_snap
expect 'snap: the starter is another process' test "$starter" != "$monitor"
kill -KILL "$starter"
expect 'snap: it ends with its starter' await ended

# A file in memory has the name / there.
expect 'snap: to execute a file in memory was refused' denied 'operation="exec" .*name="/" .*comm="maas-netmon"'
dmesg | grep 'apparmor="DENIED"' | sed 's/.*apparmor=/denied: /; s/[0-9][0-9]*/N/g' | sort | uniq -c
wait
umount /etc/passwd
umount $snap
