"""A stand-in for systemd's notification socket (sd_notify(3))."""
import os
import socket

from .waiting import eventually


class NotifySocket:
    """Keeps every message, each a dict of its lines, in order."""

    def __init__(self, path):
        self.path = str(path)
        self.messages = []
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self.socket.bind(self.path)
        os.chmod(self.path, 0o777)  # for ushers of other users

    def receive(self):
        while True:
            try:
                said = self.socket.recv(65536).decode()
            except BlockingIOError:
                return self.messages
            self.messages.append(dict(line.split("=", 1) for line in said.splitlines() if "=" in line))

    def find(self, key, value=None, after=0):
        """(number, message) of the first message from number `after` on that says so, or None."""
        for number, message in enumerate(self.receive()):
            if number >= after and key in message and (value is None or message[key] == value):
                return number, message
        return None

    def wait_for(self, key, value=None, after=0, seconds=10.0):
        return eventually(lambda: self.find(key, value, after), seconds, f"{key}={value or '...'} on the notification socket")

    def close(self):
        self.socket.close()
