# shellcheck shell=dash disable=SC2154 # variables of other parts
expect 'install' dpkg -i /root/package.deb
expect 'no unit is started' state maas-netmon inactive
expect 'no unit is enabled' eval '! systemctl is-enabled -q maas-netmon'
expect 'owner and mode' mode root:maas-netmon 710
expect 'the capability' capable
expect 'the profile is loaded' has '^maas-netmon (enforce)' /sys/kernel/security/apparmor/profiles
expect 'other users may not execute it' eval "! su joe -c '$program --version'"
usermod -aG maas-netmon joe
expect 'members of the group may' eval "su joe -c '$program --check' | grep 'It would run'"
