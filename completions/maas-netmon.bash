# bash completion of maas-netmon
_maas_netmon() {
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} words prefix=
	if [[ $cur == --*=* ]]; then # "=" does not break words here (COMP_WORDBREAKS)
		prefix=${cur%%=*}= prev=${cur%%=*} cur=${cur#*=}
	elif [[ $cur == = ]]; then
		cur=
	elif [[ $prev == = ]]; then
		prev=${COMP_WORDS[COMP_CWORD - 2]}
	fi
	COMPREPLY=()
	case $prev in
	--format) words='json text' ;;
	--log-level) words='debug info warn error' ;;
	-i | --input-file | --metrics-file)
		# readline's own completion, which handles quotes, spaces and directories.
		compopt -o default
		return
		;;
	--user) words=$(compgen -u) ;;
	--match | --refresh | --moved-interval | --max-rate | --max-bindings | --stats-interval) return ;;
	*)
		if [[ $cur == -* ]]; then
			words='-i --input-file -v --verbose --ipv6 --format --match --wait --refresh
				--moved-interval --max-rate --max-bindings
				--stats-interval --metrics-file --user --die-with-parent --check --log-level --version --help'
		else
			_maas_netmon_interfaces "$cur"
			return
		fi
		;;
	esac
	mapfile -t COMPREPLY < <(compgen -P "$prefix" -W "$words" -- "$cur")
}
# Without compgen -W, which would run $(COMMAND) in the name of an interface.
_maas_netmon_interfaces() {
	local path name
	for path in /sys/class/net/*/; do # only directories: bonding_masters is a file
		name=${path%/} name=${name##*/}
		if [[ -d $path && $name == "$1"* ]]; then
			printf -v name %q "$name"
			COMPREPLY+=("$name")
		fi
	done
}
complete -F _maas_netmon maas-netmon
