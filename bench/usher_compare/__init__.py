"""What bench/compare is made of: usher beside its peers, in turns, in network namespaces of its own."""
