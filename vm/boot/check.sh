# shellcheck shell=dash disable=SC2154 # variables of other parts
# What --check prints here, as another user and as root.

# landlock prints a pattern for the ABI of Landlock that this kernel has.
landlock() {
	if ! grep -q landlock /sys/kernel/security/lsm; then
		echo 0
	elif kernel_is 7 0; then
		echo '\([89]\|1[0-9]\)$'
	elif kernel_is 6 15; then
		echo 7
	elif kernel_is 6 12; then
		echo 6
	elif kernel_is 6 10; then
		echo 5
	elif kernel_is 6 7; then
		echo 4
	elif kernel_is 6 2; then
		echo 3
	elif kernel_is 5 19; then
		echo 2
	else
		echo 1
	fi
}

as_joe /usr/sbin/maas-netmon --check va 2>&1 | tee /tmp/check
expect '--check: it would run' has '^It would run' /tmp/check
if [ "$failures" != 0 ]; then # the rest would wait for what does not come
	dmesg | grep DENIED
	verdict
	poweroff -f
fi
if [ "$(landlock)" = 0 ]; then
	expect '--check: this kernel has no Landlock' has '^--  parser: no Landlock' /tmp/check
else
	expect "--check: this kernel has Landlock ABI $(landlock)" has "^ok  parser: Landlock, ABI $(landlock)" /tmp/check
fi
if kernel_is 6 3; then
	expect '--check: this kernel has MDWE' has '^ok  parser: .*(PR_SET_MDWE)' /tmp/check
else
	expect '--check: this kernel has no MDWE' has '^--  parser: no PR_SET_MDWE' /tmp/check
fi

/usr/sbin/maas-netmon --check va >/tmp/check 2>&1
expect '--check: it would run, started by root' has '^It would run' /tmp/check
setpriv --nnp /usr/sbin/maas-netmon --check va >/tmp/check 2>&1
expect '--check: it would run, started with no_new_privs' has '^It would run' /tmp/check
chmod 0755 /usr/sbin/maas-netmon
as_joe /usr/sbin/maas-netmon --check va >/tmp/check 2>&1
expect '--check: it would run, if the file is readable' has '^It would run' /tmp/check
chmod 0710 /usr/sbin/maas-netmon
