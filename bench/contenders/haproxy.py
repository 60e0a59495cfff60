"""haproxy: mode tcp with splicing, one thread, in master-worker mode as Debian's unit starts it.

Its documentation (configuration.txt): `nbthread` for the threads, `option splice-auto` to let it move bulk by splice(2),
`maxconn` from the descriptors that there are, and buffers at their default, which it strongly advises not to change.
No log: logging costs a line a connection, and usher and nginx write none here either.
"""
import signal

from usher_compare.contender import ProcessContender, first_line_of

# Its own default, a quarter of maxconn, would take a fifth of the descriptors from sessions; no scenario here needs as many.
PIPES = 256
RESERVED = 200

TEMPLATE = """\
global
    nbthread 1
    maxconn {maxconn}
    maxpipes {maxpipes}
    hard-stop-after 30s
    stats socket {directory}/haproxy.sock level admin expose-fd listeners
defaults
    mode tcp
    timeout connect 3s
    timeout client 10m
    timeout server 10m
    retries 3
    option redispatch 1
{options}
frontend front
    bind {front} backlog 4096
    default_backend back
backend back
    balance leastconn
{servers}
"""


class HAProxy(ProcessContender):
    name = "haproxy"
    title = "HAProxy, splice-auto"
    family = "haproxy"
    peer = True
    in_quick = True
    can_reload = True
    checks_backends = True
    config_name = "haproxy.cfg"
    programs = (("haproxy", "haproxy"),)
    options = "    option splice-auto\n"

    def version(self):
        return first_line_of(["haproxy", "-v"])

    def configuration(self, setup):
        check = " check inter 500ms fall 2 rise 2" if setup.checks else ""
        servers = "\n".join(f"    server s{port} {ip}:{port}{check}" for ip, port in setup.backends)
        return TEMPLATE.format(maxconn=min(setup.sessions_max, (setup.descriptors_max - 2 * PIPES - RESERVED) // 2),
                               maxpipes=PIPES, directory=setup.directory,
                               options=self.options, front=f"{setup.network.balancer.ip}:700", servers=servers)

    def command(self, setup, config_path):
        return ["haproxy", "-W", "-f", config_path]

    def reload(self, setup):
        """management.txt: SIGUSR2 to the master starts a new worker that takes the listening sockets over."""
        self.write(setup)
        self.process.send(signal.SIGUSR2)


CONTENDER = HAProxy
