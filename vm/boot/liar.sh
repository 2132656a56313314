# shellcheck shell=dash disable=SC2154 # variables of other parts
# The program with a parser that lies (internal/testbin/liar) takes the program's place and has its
# profile. AppArmor answers some questions of the monitor about the parser in the kernel's place:
# a parser that is dumpable must be refused all the same.

cp /liar /usr/sbin/maas-netmon
chown root:maas-netmon /usr/sbin/maas-netmon
chmod 0710 /usr/sbin/maas-netmon
setcap cap_net_raw=p /usr/sbin/maas-netmon
for lie in unconfined hidden dumpable; do
	ip link add $lie type veth peer name w$lie
	as_joe /usr/sbin/maas-netmon $lie >/tmp/out 2>/tmp/err
	status=$?
	expect "a parser that is $lie: exit status 5" test $status = 5
	expect "a parser that is $lie: one line" has '^maas-netmon: the parser is not confined: ' /tmp/err
	expect "a parser that is $lie: it was given no socket" hasnt 'was given a socket' /tmp/err
done
expect 'the dumpable one is refused for that alone' has 'dumpable' /tmp/err
as_joe '/usr/sbin/maas-netmon va 2>/tmp/log.liar | cat' &
await grep watching /tmp/log.liar
processes /tmp/log.liar
expect 'the same program with an honest parser runs' has 'msg=watching' /tmp/log.liar
expect 'its monitor has the profile' confined_as "/proc/$monitor/attr/current"
expect 'its parser has both profiles' confined_as "/proc/$parser/attr/current" 'maas-netmon//&maas-netmon//parser'
kill -TERM "$monitor"
wait
