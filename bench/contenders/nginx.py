"""nginx: its stream module, one worker, a buffer of 64 KiB.

Its documentation (ngx_stream_proxy_module, ngx_core_module): `multi_accept` and `reuseport` to take connections in
batches from a queue of the worker's own, `proxy_buffer_size` for the bytes that move at a time, no access log.
"""
import signal

from usher_compare.contender import ProcessContender, first_line_of

MODULE = "/usr/lib/nginx/modules/ngx_stream_module.so"

TEMPLATE = """\
load_module {module};
daemon off;
user root;
worker_processes 1;
worker_rlimit_nofile {descriptors};
worker_shutdown_timeout 30s;
pid {directory}/nginx.pid;
error_log {directory}/nginx-error.log error;
events {{
    use epoll;
    multi_accept on;
    worker_connections {connections};
}}
stream {{
    access_log off;
    tcp_nodelay on;
    proxy_buffer_size 64k;
    proxy_connect_timeout 3s;
    proxy_timeout 10m;
    upstream back {{
        least_conn;
{servers}
    }}
    server {{
        listen {front} reuseport backlog=4096;
        proxy_pass back;
    }}
}}
"""


class Nginx(ProcessContender):
    name = "nginx"
    title = "nginx stream, 64 KiB buffer"
    family = "nginx"
    peer = True
    in_quick = True
    can_reload = True
    checks_backends = True   # passively: max_fails
    config_name = "nginx.conf"
    programs = (("nginx", "nginx-light"), (MODULE, "libnginx-mod-stream"))

    def version(self):
        return first_line_of(["nginx", "-v"])

    def configuration(self, setup):
        check = " max_fails=2 fail_timeout=1s" if setup.checks else " max_fails=0"
        servers = "\n".join(f"        server {ip}:{port}{check};" for ip, port in setup.backends)
        return TEMPLATE.format(module=MODULE, descriptors=setup.descriptors_max, directory=setup.directory, servers=servers,
                               connections=min(2 * setup.sessions_max + 64, setup.descriptors_max - 64),
                               front=f"{setup.network.balancer.ip}:700")

    def command(self, setup, config_path):
        return ["nginx", "-c", config_path, "-p", setup.directory, "-e", setup.directory / "nginx-error.log"]

    def reload(self, setup):
        """nginx.org, "Controlling nginx": SIGHUP to the master starts new workers and lets the old ones end their work."""
        self.write(setup)
        self.process.send(signal.SIGHUP)


CONTENDER = Nginx
