# shellcheck shell=dash disable=SC2154 # variables of other parts
# Files. The profile needs no rule for a file that an unconfined shell has opened.

mkdir -p /data /var/lib/prometheus/node-exporter
chmod 1777 /data /var/lib/prometheus/node-exporter
cp /veth.pcap /data/veth.pcap
cp /veth.pcap /data/veth
{ # a section header, an interface description, an enhanced packet
	printf '\n\r\r\n\034\0\0\0M<+\032\001\0\0\0\377\377\377\377\377\377\377\377\034\0\0\0'
	printf '\001\0\0\0\024\0\0\0\001\0\0\0\0\0\0\0\024\0\0\0'
	printf '\006\0\0\0\114\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\052\0\0\0\052\0\0\0'
	printf '\377\377\377\377\377\377\002\252\0\0\0\005\010\006\0\001\010\0\006\004\0\001'
	printf '\002\252\0\0\0\005\012\0\0\005\0\0\0\0\0\0\012\0\0\001\0\0\114\0\0\0'
} >/data/one.pcapng
as_joe '/usr/sbin/maas-netmon -i /data/veth.pcap | cat' >/tmp/out 2>/tmp/err
expect 'a pcap file' lines 3 /tmp/out
as_joe '/usr/sbin/maas-netmon -i /data/one.pcapng | cat' >/tmp/out 2>/tmp/err
expect 'a pcapng file' lines 1 /tmp/out
as_joe 'cat /data/veth | /usr/sbin/maas-netmon -i - | cat' >/tmp/out 2>/tmp/err
expect 'a pipe as standard input' lines 3 /tmp/out
as_joe '/usr/sbin/maas-netmon -i - </data/veth >/data/lines 2>/data/log'
expect 'a file of any name as standard input, lines into a file' lines 3 /data/lines
expect 'the log into a file' has 'new=3' /data/log
as_joe '/usr/sbin/maas-netmon -i /data/veth.pcap >>/data/lines 2>>/data/log'
expect 'lines appended to a file' lines 6 /data/lines
as_joe '/usr/sbin/maas-netmon --check >/data/check'
expect '--check into a file' has '^It would run' /data/check
metrics=/var/lib/prometheus/node-exporter/arp.prom
as_joe "/usr/sbin/maas-netmon --metrics-file $metrics --stats-interval 1s va 2>/tmp/log.metrics | cat" &
await grep watching /tmp/log.metrics
await grep '^maas_netmon_frames_total' $metrics
expect 'a metrics file' has '^maas_netmon_frames_total{interface="va"}' $metrics
processes /tmp/log.metrics
kill -TERM "$monitor"
wait

dmesg | grep 'apparmor="DENIED"' >/tmp/denied
expect 'AppArmor has denied nothing so far' lines 0 /tmp/denied
