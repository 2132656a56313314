# shellcheck shell=dash
# Makes a LAN. The peers of all links are in the network namespace lan.

ip link set lo up
mkdir -p /run/netns
expect 'a namespace' ip netns add lan
lan() { ip -n lan "$@"; }
for l in a b c; do
	ip link add v$l type veth peer name w$l netns lan
	lan link set w$l up
done
ip link add link va name va.100 type vlan id 100
lan link add link wa name wa.100 type vlan id 100
ip link add br0 type bridge
ip link set vb master br0
ip link add bond1 type bond
ip link set vc master bond1
ip link add vx0 type vxlan id 7 local 10.0.0.1 remote 10.0.0.2 dstport 4789
lan link add vx0 type vxlan id 7 local 10.0.0.2 remote 10.0.0.1 dstport 4789
i=0
for pair in va:wa va.100:wa.100 br0:wb bond1:wc vx0:vx0; do
	ip addr add 10.$i.0.1/24 dev "${pair%:*}"
	lan addr add 10.$i.0.2/24 dev "${pair#*:}"
	ip link set "${pair%:*}" up
	lan link set "${pair#*:}" up
	i=$((i + 1))
done
ip link set va up
ip link set vb up
