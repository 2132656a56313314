# bash completion of maas-netmon
_maas_netmon() {
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} words
	case $prev in
	--format) words='json text' ;;
	--log-level) words='debug info warn error' ;;
	-i | --input-file | --metrics-file)
		mapfile -t COMPREPLY < <(compgen -f -- "$cur")
		return
		;;
	--user) words=$(compgen -u) ;;
	--match | --refresh | --moved-interval | --max-rate | --max-bindings | --stats-interval) return ;;
	*)
		words=$(cd /sys/class/net && echo *)
		if [[ $cur == -* ]]; then
			words='-i --input-file -v --verbose --format --match --wait --refresh
				--moved-interval --max-rate --max-bindings
				--stats-interval --metrics-file --user --die-with-parent --check --log-level --version --help'
		fi
		;;
	esac
	mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
}
complete -F _maas_netmon maas-netmon
