#!/usr/bin/perl
# Sends ARP requests in which 60,000 invented addresses ask for 10.0.0.9, and in their middle one in
# which 10.0.0.5 has another hardware address than before:
#
#	flood.pl INTERFACE FRAMES_PER_SECOND FIRST_BYTE
#
# prints the time of that request. FIRST_BYTE is the first byte of the invented addresses, so that
# each flood invents others. "flood.pl INTERFACE" sends the first request of 10.0.0.5 instead.
use strict;
use Socket;

my ($interface, $rate, $first) = @ARGV;
socket my $socket, 17, SOCK_RAW, 0 or die $!; # AF_PACKET
my $ifreq = pack 'Z16 x24', $interface;
ioctl $socket, 0x8933, $ifreq or die $!; # SIOCGIFINDEX
my $to = pack 'S n i S C C x8', 17, 0x0806, unpack('x16 i', $ifreq), 0, 0, 6;

sub request {
	my ($mac, $ip) = @_;
	my $frame = pack 'H12 H12 n n n C C n H12 N H12 N x18', 'f' x 12, $mac, 0x0806, 1, 0x0800, 6, 4, 1,
		$mac, $ip, '0' x 12, 0x0a000009;
	defined send $socket, $frame, 0, $to or die $!;
}

if (!$rate) {
	request('020000000005', 0x0a000005);
	exit;
}
for my $n (0 .. 59_999) {
	request(sprintf('06%02x%08x', $first, $n), ($first << 24) + $n + 1);
	if ($n == 30_000) {
		request("0200000001" . sprintf('%02x', $first), 0x0a000005);
		print time, "\n";
	}
	select undef, undef, undef, 0.02 if $n % ($rate / 50) == 0;
}
