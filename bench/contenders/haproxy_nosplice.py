"""haproxy_nosplice: the same HAProxy, moving bytes by recv(2) and send(2)."""
import importlib.util
import pathlib

_spec = importlib.util.spec_from_file_location("usher_compare_haproxy", pathlib.Path(__file__).with_name("haproxy.py"))
_haproxy = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_haproxy)


class HAProxyNoSplice(_haproxy.HAProxy):
    name = "haproxy_nosplice"
    title = "HAProxy, no splice"
    in_quick = False
    options = ""


CONTENDER = HAProxyNoSplice
