# bash completion for usher(8): verbs, options, and the POOL/BACKEND names of the usher that runs.

_usher_backends() {
  local socket="$1"
  usher backends ${socket:+--socket "$socket"} 2>/dev/null | awk 'NR > 1 { print $1 }'
}

_usher() {
  local current="${COMP_WORDS[COMP_CWORD]}" previous="${COMP_WORDS[COMP_CWORD-1]}"
  local verbs="run check doctor demo status listeners backends connections events drain enable disable weight reload"
  local verb="" socket="" i
  for ((i = 1; i < COMP_CWORD; i++)); do
    case "${COMP_WORDS[i]}" in
      --socket) socket="${COMP_WORDS[i+1]}" ;;
      -*) ;;
      *) [ -z "$verb" ] && verb="${COMP_WORDS[i]}" ;;
    esac
  done
  COMPREPLY=()
  if [ -z "$verb" ]; then
    mapfile -t COMPREPLY < <(compgen -W "$verbs --help --version" -- "$current")
    return
  fi
  case "$previous" in
    -c | --config | --socket)
      compopt -o filenames 2>/dev/null
      mapfile -t COMPREPLY < <(compgen -f -- "$current")
      return ;;
    --seconds) return ;;
  esac
  local options="--help --version"
  case "$verb" in
    run) options="-c --config --cleanup $options" ;;
    check) options="-c --config $options" ;;
    doctor) options="-c --config --json $options" ;;
    demo) options="--seconds --json $options" ;;
    status | listeners | backends | connections | events) options="--json --socket $options" ;;
    drain | enable | disable | weight)
      options="--socket $options"
      if [[ "$current" != -* ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$(_usher_backends "$socket")" -- "$current")
        return
      fi ;;
    reload) options="--socket $options" ;;
  esac
  mapfile -t COMPREPLY < <(compgen -W "$options" -- "$current")
}

complete -F _usher usher
