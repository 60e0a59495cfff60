# bash completion for usher-bench(1): modes and options.

_usher_bench() {
  local current="${COMP_WORDS[COMP_CWORD]}" previous="${COMP_WORDS[COMP_CWORD-1]}"
  local modes="http echo connect stream idle serve"
  local mode="" i
  for ((i = 1; i < COMP_CWORD; i++)); do
    case "${COMP_WORDS[i]}" in
      -*) ;;
      *) [ -z "$mode" ] && mode="${COMP_WORDS[i]}" ;;
    esac
  done
  COMPREPLY=()
  case "$previous" in
    --json | --compare)
      compopt -o filenames 2>/dev/null
      mapfile -t COMPREPLY < <(compgen -f -- "$current")
      return ;;
    --direction)
      mapfile -t COMPREPLY < <(compgen -W "up down both" -- "$current")
      return ;;
    serve)
      mapfile -t COMPREPLY < <(compgen -W "echo sink source http answer --help" -- "$current")
      return ;;
  esac
  if [ -z "$mode" ]; then
    mapfile -t COMPREPLY < <(compgen -W "$modes --compare --help --version" -- "$current")
    return
  fi
  local load="--connections --duration --warmup --threads --timeout --connect-rate --bind --seed --json --quiet --help --version"
  local options="--help --version"
  case "$mode" in
    http) options="$load --rate --requests --requests-per-connection --header" ;;
    echo | connect) options="$load --rate --requests --request --answer" ;;
    stream) options="$load --direction" ;;
    idle) options="$load --request" ;;
    serve) options="--listen --threads --duration --connections --discard --quiet $options" ;;
  esac
  mapfile -t COMPREPLY < <(compgen -W "$options" -- "$current")
}

complete -F _usher_bench usher-bench
