# shellcheck shell=dash disable=SC2154 # variables of other parts
# What the profile refuses ends the program with one clear line, and no line of output is lost.

# confined COMMAND runs a shell command as joe, in a shell that has a profile of its own.
confined() {
	echo "$*" >/tmp/script
	as_joe 'echo exec shell >/proc/self/attr/exec; exec /bin/sh /tmp/script'
}

# refused PATTERN COMMAND... runs a command that must end with status 1, without a line of output
# and with one error that matches. Its output may go to /data/out.
refused() {
	words=$1
	shift
	rm -f /data/out
	"$@" >/tmp/out 2>/tmp/err
	got="status $?, $(cat /tmp/out /data/out 2>/dev/null | wc -l) lines, $(grep -v -c hint: /tmp/err) errors"
	echo "$got"
	[ "$got" = 'status 1, 0 lines, 1 errors' ] && has "^maas-netmon: $words" /tmp/err
}

expect 'a capture of another name is refused' refused '/data/veth: permission denied' \
	as_joe /usr/sbin/maas-netmon -i /data/veth
as_joe '/usr/sbin/maas-netmon --metrics-file /data/arp.prom va 2>/tmp/log.elsewhere | cat' &
await grep watching /tmp/log.elsewhere
expect 'a metrics file elsewhere is refused, and the program watches' has 'level=WARN msg="no metrics file until the next start".*permission denied' /tmp/log.elsewhere
expect 'there is no such file' test ! -e /data/arp.prom
processes /tmp/log.elsewhere
kill -TERM "$monitor"
wait
echo 'profile shell { file, signal, unix, /usr/sbin/maas-netmon px, }' | apparmor_parser -r -K
confined cat /proc/self/attr/current >/tmp/label
expect 'a confined shell' confined_as /tmp/label shell
replaced='\(:\| is closed, or\) AppArmor does not let this program have the file'
expect 'a confined shell: a file of its own as standard output is refused' refused "standard output$replaced" \
	confined '/usr/sbin/maas-netmon -i /data/veth.pcap >/data/out'
expect 'a confined shell: the same for an interface' refused "standard output$replaced" \
	confined '/usr/sbin/maas-netmon va >>/data/out'
expect 'a confined shell: the same for --check' refused "standard output$replaced" \
	confined '/usr/sbin/maas-netmon --check va >/data/out'
expect 'a confined shell: a file as standard input is refused' refused "standard input$replaced" \
	confined '/usr/sbin/maas-netmon -i - </data/veth'
expect 'a confined shell: the hint is to use cat' has 'hint: use cat FILE' /tmp/err
confined '/usr/sbin/maas-netmon -i /data/veth.pcap 2>/data/err | cat' >/tmp/out 2>/tmp/err
expect 'a confined shell: no line is lost if standard error is refused' lines 3 /tmp/out
# Root has the capability without the file's, so that the program is not AT_SECURE.
confined_root() {
	echo "$*" >/tmp/script
	sh -c 'echo exec shell >/proc/self/attr/exec; exec /bin/sh /tmp/script'
}
expect 'a confined shell of root: a file as standard output is refused' refused "standard output$replaced" \
	confined_root '/usr/sbin/maas-netmon -i /data/veth.pcap >/data/out'
expect 'a confined shell of root: a file as standard input is refused' refused "standard input$replaced" \
	confined_root '/usr/sbin/maas-netmon -i - </data/veth'
confined_root '/usr/sbin/maas-netmon -i /data/veth.pcap 2>/data/err.root | cat' >/tmp/out 2>/tmp/err
expect 'a confined shell of root: no line is lost if standard error is refused' lines 3 /tmp/out
rm -f /data/err /data/err.root
confined 'cat /data/veth | /usr/sbin/maas-netmon -i - | cat' >/tmp/out 2>/tmp/err
expect 'a confined shell: a pipe is not refused' lines 3 /tmp/out
rm /data/log
confined '/usr/sbin/maas-netmon va 2>&1 >/dev/null | cat >/data/log' &
await grep watching /data/log
processes /data/log
expect 'a confined shell: it may end the program' confined kill "$monitor"
kill -TERM "$monitor"
wait

mkdir /etc/apparmor.d/local
echo '/data/out w, /data/veth r,' >/etc/apparmor.d/local/usr.sbin.maas-netmon
apparmor_parser -r -K /etc/apparmor.d/usr.sbin.maas-netmon
expect 'standard output that only the monitor may write is refused' refused "standard output$replaced" \
	confined '/usr/sbin/maas-netmon -i /data/veth.pcap >/data/out'
expect 'a capture that only the monitor may read is refused' refused 'receive socket: malformed message: a descriptor too many, or one' \
	as_joe /usr/sbin/maas-netmon -i /data/veth
cp /etc/apparmor.d/local/usr.sbin.maas-netmon /etc/apparmor.d/local/usr.sbin.maas-netmon.parser
apparmor_parser -r -K /etc/apparmor.d/usr.sbin.maas-netmon
confined '/usr/sbin/maas-netmon -i /data/veth.pcap >/data/out' 2>/tmp/err
expect 'standard output that both may write' lines 3 /data/out
as_joe '/usr/sbin/maas-netmon -i /data/veth | cat' >/tmp/out 2>/tmp/err
expect 'a capture that both may read' lines 3 /tmp/out
rm -r /etc/apparmor.d/local
apparmor_parser -r -K /etc/apparmor.d/usr.sbin.maas-netmon
