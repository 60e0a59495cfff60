# fish completion for usher(8): verbs, options, and the POOL/BACKEND names of the usher that runs.

function __usher_backends
    set -l words (commandline -opc)
    set -l at (contains -i -- --socket $words)
    if test -n "$at"; and set -q words[(math $at + 1)]
        usher backends --socket $words[(math $at + 1)] 2>/dev/null | awk 'NR > 1 { print $1 }'
    else
        usher backends 2>/dev/null | awk 'NR > 1 { print $1 }'
    end
end

set -l asking status listeners backends connections events
set -l orders drain enable disable weight
set -l verbs run check doctor demo $asking $orders reload

complete -c usher -f
complete -c usher -n "not __fish_seen_subcommand_from $verbs" -a run -d 'Serve in the foreground'
complete -c usher -n "not __fish_seen_subcommand_from $verbs" -a check -d 'Validate a configuration'
complete -c usher -n "not __fish_seen_subcommand_from $verbs" -a doctor -d 'What this kernel and these limits allow'
complete -c usher -n "not __fish_seen_subcommand_from $verbs" -a demo -d 'Three backends, one listener and a gentle load'
complete -c usher -n "not __fish_seen_subcommand_from $verbs" -a status -d 'What this usher is, and how it is'
complete -c usher -n "not __fish_seen_subcommand_from $verbs" -a listeners -d 'Each listener, its pool and its counts'
complete -c usher -n "not __fish_seen_subcommand_from $verbs" -a backends -d 'Each backend, its state, health and counts'
complete -c usher -n "not __fish_seen_subcommand_from $verbs" -a connections -d 'The connections that are open now'
complete -c usher -n "not __fish_seen_subcommand_from $verbs" -a events -d 'What happened lately'
complete -c usher -n "not __fish_seen_subcommand_from $verbs" -a drain -d 'Give a backend nothing new'
complete -c usher -n "not __fish_seen_subcommand_from $verbs" -a enable -d 'Give a backend new connections again'
complete -c usher -n "not __fish_seen_subcommand_from $verbs" -a disable -d 'Take a backend out, and close its sessions'
complete -c usher -n "not __fish_seen_subcommand_from $verbs" -a weight -d "Set a backend's share"
complete -c usher -n "not __fish_seen_subcommand_from $verbs" -a reload -d 'Apply the configuration file again'
complete -c usher -l help -d 'Show help'
complete -c usher -l version -d 'Show the version'
complete -c usher -n "__fish_seen_subcommand_from run check doctor" -s c -l config -r -F -d 'The configuration'
complete -c usher -n "__fish_seen_subcommand_from run" -l cleanup -d 'Only take away what a killed usher left'
complete -c usher -n "__fish_seen_subcommand_from demo" -l seconds -x -d 'End after so long'
complete -c usher -n "__fish_seen_subcommand_from doctor demo $asking" -l json -d 'JSON'
complete -c usher -n "__fish_seen_subcommand_from $asking $orders reload" -l socket -r -F -d 'The admin socket'
complete -c usher -n "__fish_seen_subcommand_from $orders" -a '(__usher_backends)'
