"""The harness of the system tests: namespaces, processes, peers, usher itself, and bounded waiting."""
