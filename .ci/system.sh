# shellcheck shell=dash
# Shell functions for systems that debootstrap makes: .ci/distro and .ci/deb. Both need root.

# make_system SUITE DIRECTORY creates the system if it is not there, and prepares it for apt.
make_system() {
	if ! [ -e "$2/made" ]; then
		rm -rf "$2"
		debootstrap --variant=minbase --include=ca-certificates "$1" "$2"
		touch "$2/made"
	fi
	cp /etc/resolv.conf "$2/etc/"
	# A machine behind a proxy can have its own certificates.
	cp -L /etc/ssl/certs/ca-certificates.crt "$2/etc/ssl/certs/"
	# A mirror can be older than Debian.
	echo 'Acquire::Check-Valid-Until "false";' >"$2/etc/apt/apt.conf.d/99mirror"
}

# in_system DIRECTORY COMMAND [FROM TO]... runs a shell command in the system, in namespaces that
# contain its mounts and all its remaining processes. Each directory FROM is mounted there as TO.
# shellcheck disable=SC2016 # shell commands for another shell
in_system() {
	unshare --mount --pid --fork --kill-child sh -euc '
		system=$1
		command=$2
		shift 2
		mount --make-rprivate /
		mount --bind "$system" "$system"
		mount --rbind /sys "$system/sys"
		mount -t proc proc "$system/proc"
		mount -t devtmpfs dev "$system/dev"
		mkdir -p "$system/dev/pts" "$system/dev/shm"
		mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts "$system/dev/pts"
		mount -t tmpfs -o mode=1777 shm "$system/dev/shm"
		while [ $# != 0 ]; do
			mkdir -p "$system$2"
			mount --bind "$1" "$system$2"
			shift 2
		done
		cd "$system"
		pivot_root . mnt # a process in a chroot may make no user namespace
		umount -l /mnt
		exec /usr/bin/env -i PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 \
			HOME=/root GOPROXY="$GOPROXY" DEBIAN_FRONTEND=noninteractive sh -euc "$command"
	' sh "$@"
}
export GOPROXY="${GOPROXY:-https://proxy.golang.org,direct}"
