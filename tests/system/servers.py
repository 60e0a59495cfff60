"""Small TCP servers for the load tests, in a process of their own: servers.py MODE NAME=ADDRESS:PORT ...

name    sends its NAME and a newline, then echoes what comes until the client has finished; every port has a name of its own
banner  speaks first, as SMTP does, then answers each line with "250 NAME LINE" until QUIT
Prints "listening" when every port listens. SIGTERM ends it.
"""
import asyncio
import signal
import sys

CHUNK_BYTES = 65536
BACKLOG = 4096


async def name_client(name, reader, writer):
    writer.write(name.encode() + b"\n")
    while chunk := await reader.read(CHUNK_BYTES):
        writer.write(chunk)
        await writer.drain()
    writer.close()


async def banner_client(name, reader, writer):
    writer.write(f"220 {name} ready\r\n".encode())
    while line := await reader.readline():
        word = line.decode().strip()
        writer.write(f"221 {name} bye\r\n".encode() if word == "QUIT" else f"250 {name} {word}\r\n".encode())
        if word == "QUIT":
            break
    await writer.drain()
    writer.close()


MODES = {"name": name_client, "banner": banner_client}


async def serve(mode, bindings):
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)

    def greet(name):
        async def client(reader, writer):
            try:
                await mode(name, reader, writer)
            except ConnectionError:
                writer.close()
        return client

    servers = []
    for binding in bindings:
        name, _, where = binding.partition("=")
        host, _, port = where.rpartition(":")
        servers.append(await asyncio.start_server(greet(name), host.strip("[]"), int(port), backlog=BACKLOG))
    print("listening", flush=True)
    await ended.wait()
    for server in servers:
        server.close()


if __name__ == "__main__":
    asyncio.run(serve(MODES[sys.argv[1]], sys.argv[2:]))
