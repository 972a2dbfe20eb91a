#!/usr/bin/env python3
"""streambench: figures of exec and port-forward, of one CRI runtime or of two in one run, interleaved.

  streambench.py --endpoint unix:///run/a.sock [--name cradle] [--vs unix:///run/b.sock] [--vs-name containerd]
      [--proto proto/cri/v1/api.proto] [--json FILE] [--rounds 40] [--mib 512] [--idle 200]

Each runtime gets a pod of its own on the host's network, where this program listens. It speaks SPDY itself, so that no
other client's start or speed is measured. Setup once: pip install grpcio grpcio-tools

  exec       from the URL's request to the status of `true`, p50 and p90
  stdout     MiB/s of a command's output, the CPU seconds of daemon and shim for it, and what it added to the daemon's
             resident memory at most
  from pod   the same for a connection into the pod
  to pod
  tunnel     the same, with SPDY in messages of WebSocket (SPDY/3.1+portforward.k8s.io), as kubectl speaks it; or what the
             runtime answers that does not serve it
  idle       what --idle sessions of `sleep` add to the daemon's private memory
"""
import argparse
import contextlib
import functools
import json
import os
import socket
import statistics
import struct
import sys
import threading
import time
import urllib.parse
import zlib

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import cribench  # noqa: E402

WORDS = """options head post put delete trace accept accept-charset accept-encoding accept-language accept-ranges age
allow authorization cache-control connection content-base content-encoding content-language content-length
content-location content-md5 content-range content-type date etag expect expires from host if-match
if-modified-since if-none-match if-range if-unmodified-since last-modified location max-forwards pragma
proxy-authenticate proxy-authorization range referer retry-after server te trailer transfer-encoding upgrade
user-agent vary via warning www-authenticate method get status 200_OK version HTTP/1.1 url public set-cookie
keep-alive origin""".split()
TEXT = (
    "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505"
    "203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized403 Forbidden"
    "404 Not Found500 Internal Server Error501 Not Implemented503 Service Unavailable"
    "Jan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMT"
    "chunked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,text/plain,text/javascript,"
    "publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0."
)
DICTIONARY = b"".join(struct.pack(">I", len(w)) + w.replace("_", " ").encode() for w in WORDS) + TEXT.encode()
HEAD, SYN_STREAM, FIN = 8, 1, 1
# Of messages of WebSocket. The mask changes nothing: it costs the runtime what any mask does, and this program nothing.
BINARY, CLOSE, LAST, MASK = 2, 8, 0x80, b"\0\0\0\0"


class Refused(Exception):
    """The first line of an answer that is no upgrade."""


def upgraded(url, headers):
    """A connection to a URL after its upgrade."""
    parts = urllib.parse.urlsplit(url)
    connection = socket.create_connection((parts.hostname, parts.port))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    lines = [f"GET {parts.path} HTTP/1.1", f"Host: {parts.netloc}", "Connection: Upgrade", *headers]
    connection.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
    answer = b""
    while (end := answer.find(b"\r\n\r\n")) < 0:
        more = connection.recv(4096, socket.MSG_PEEK)
        if not more or more == answer:
            break
        answer = more
    if not answer.startswith(b"HTTP/1.1 101 "):
        raise Refused(answer.split(b"\r\n")[0].decode())
    # What came behind it is still there to be read.
    connection.recv(end + 4)
    return connection


class Tunnel:
    """A connection whose bytes go in messages of WebSocket."""

    def __init__(self, url):
        headers = ["Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: c3RyZWFtYmVuY2ggc2F5cyE="]
        self.socket = upgraded(url, [*headers, "Sec-WebSocket-Protocol: SPDY/3.1+portforward.k8s.io"])
        self.left = 0

    def sendall(self, data):
        short = len(data) if len(data) < 126 else 126 if len(data) < 1 << 16 else 127
        length = {126: ">H", 127: ">Q"}.get(short)
        head = bytes([LAST | BINARY, LAST | short]) + (struct.pack(length, len(data)) if length else b"")
        self.socket.sendmsg([head, MASK, data]) == len(head) + 4 + len(data) or sys.exit("a message was sent in part")

    def exactly(self, count):
        return self.socket.recv(count, socket.MSG_WAITALL)

    def recv_into(self, memory):
        while not self.left:
            head = self.exactly(2)
            if len(head) < 2 or head[0] & 15 == CLOSE:
                return 0
            short = head[1] & 127
            length = {126: ">H", 127: ">Q"}.get(short)
            size = struct.unpack(length, self.exactly(struct.calcsize(length)))[0] if length else short
            if head[0] & 15 < CLOSE:
                self.left = size
            else:
                self.exactly(size)
        count = self.socket.recv_into(memory[: self.left])
        self.left -= count
        return count

    def close(self):
        self.socket.close()


class Session:
    """A client of SPDY on one connection."""

    def __init__(self, connection):
        self.socket = connection
        self.deflate = zlib.compressobj(zdict=DICTIONARY)
        self.next = 1

    def open(self, **headers):
        stream, self.next = self.next, self.next + 2
        block = struct.pack(">I", len(headers))
        for name, value in headers.items():
            block += struct.pack(">I", len(name)) + name.encode() + struct.pack(">I", len(value)) + value.encode()
        block = self.deflate.compress(block) + self.deflate.flush(zlib.Z_SYNC_FLUSH)
        payload = struct.pack(">IIH", stream, 0, 0) + block
        self.socket.sendall(struct.pack(">HHI", 0x8003, SYN_STREAM, len(payload)) + payload)
        return stream

    def send(self, stream, data, fin=0):
        self.socket.sendall(struct.pack(">II", stream, fin << 24 | len(data)))
        self.socket.sendall(data)

    def frames(self, keep):
        """Yields (stream, bytes or count, ended) of data frames; the bytes only of streams in `keep`."""
        memory = memoryview(bytearray(1 << 20))
        data, head, left, payload = b"", b"", 0, b""
        while True:
            while data or (len(head) == HEAD and not left):
                if len(head) < HEAD:
                    missing = HEAD - len(head)
                    head, data = head + bytes(data[:missing]), data[missing:]
                    if len(head) < HEAD:
                        break
                    stream, length = struct.unpack(">II", head)
                    flags, length, payload = length >> 24, length & 0xFFFFFF, b""
                    left = length
                taken, data = data[:left], data[left:]
                left -= len(taken)
                if stream in keep:
                    payload += taken
                if not left:
                    head = b""
                    if not stream >> 31:
                        yield stream, payload if stream in keep else length, flags & FIN
            count = self.socket.recv_into(memory)
            if not count:
                return
            data = memory[:count]

    def close(self):
        self.socket.close()


def spdy(url, version):
    return Session(upgraded(url, ["Upgrade: SPDY/3.1", f"X-Stream-Protocol-Version: {version}"]))


class Runtime(cribench.Runtime):
    """A runtime, and the container that is measured with."""

    def __init__(self, name, endpoint, stubs):
        super().__init__(name, endpoint, *stubs, "", cribench.BUSYBOX)
        self.daemon = self.daemon_pid()
        self.sweep()
        self.ensure_image()
        config = self.pod_config(host=True)
        self.pod = self.run_pod(config)
        self.container = self.start(self.pod, config, ["sleep", "1000000"])

    def exec(self, *command, stdout=True):
        request = self.pb.ExecRequest(container_id=self.container, cmd=command, stdout=stdout, stdin=not stdout)
        session = spdy(self.rt.Exec(request).url, "v4.channel.k8s.io")
        session.open(streamtype="error")
        session.open(streamtype="stdout" if stdout else "stdin")
        return session

    def forward(self, port, tunnel):
        url = self.rt.PortForward(self.pb.PortForwardRequest(pod_sandbox_id=self.pod)).url
        session = Session(Tunnel(url)) if tunnel else spdy(url, "portforward.k8s.io")
        session.open(streamtype="error", port=str(port), requestid="0")
        return session, session.open(streamtype="data", port=str(port), requestid="0")

    def cpu_seconds(self):
        """Of the daemon and of the pod's shim. Clients, as this one, have the pod's id on their command lines as well."""
        total = 0
        for pid in filter(str.isdigit, os.listdir("/proc")):
            with contextlib.suppress(OSError):
                words = open(f"/proc/{pid}/cmdline").read().split("\0")
                if int(pid) == self.daemon or ("shim" in words[0] and self.pod in "".join(words)):
                    fields = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()
                    total += int(fields[11]) + int(fields[12])
        return total / cribench.TICK

    def begin_peak(self):
        """From now on VmHWM is the most since now (proc_pid_clear_refs(5))."""
        with open(f"/proc/{self.daemon}/clear_refs", "w") as file:
            file.write("5")

    def resident_kib(self, field):
        lines = open(f"/proc/{self.daemon}/status").read().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(field))

    def private_kib(self):
        lines = open(f"/proc/{self.daemon}/smaps_rollup").read().splitlines()
        return sum(int(line.split()[1]) for line in lines if line.startswith("Private_"))


def true_ms(runtime):
    begin = time.perf_counter()
    session = runtime.exec("true")
    status = b"".join(data for stream, data, _ in session.frames({1}) if stream == 1)
    session.close()
    if b'"Success"' not in status:
        sys.exit(f"{runtime.name}: {status!r}")
    return (time.perf_counter() - begin) * 1000


def measured(runtime, mib, work):
    runtime.begin_peak()
    resident, cpu, begin = runtime.resident_kib("VmRSS"), runtime.cpu_seconds(), time.perf_counter()
    count = work()
    seconds = time.perf_counter() - begin
    if count != mib << 20:
        sys.exit(f"{runtime.name}: {count} bytes instead of {mib << 20}")
    return mib / seconds, runtime.cpu_seconds() - cpu, runtime.resident_kib("VmHWM") - resident


def stdout(runtime, mib):
    def work():
        session = runtime.exec("dd", "if=/dev/zero", "bs=1M", f"count={mib}")
        count = sum(data for stream, data, _ in session.frames({1}) if stream == 3)
        session.close()
        return count

    return measured(runtime, mib, work)


@contextlib.contextmanager
def listener(serve):
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=lambda: serve(server.accept()[0]), daemon=True)
        thread.start()
        yield server.getsockname()[1], thread


def from_pod(runtime, mib, tunnel=False):
    chunk = bytes(256 << 10)

    def serve(connection):
        for _ in range(mib * 4):
            connection.sendall(chunk)
        connection.close()

    def work():
        with listener(serve) as (port, _):
            session, stream = runtime.forward(port, tunnel)
            count = 0
            for of, data, ended in session.frames({1}):
                count += data if of == stream else 0
                if of == stream and ended:
                    break
            session.close()
            return count

    return measured(runtime, mib, work)


def to_pod(runtime, mib, tunnel=False):
    chunk, received = bytes(64 << 10), [0]

    def serve(connection):
        while data := connection.recv(1 << 20):
            received[0] += len(data)

    def work():
        with listener(serve) as (port, thread):
            session, stream = runtime.forward(port, tunnel)
            for _ in range(mib * 16):
                session.send(stream, chunk)
            session.send(stream, b"", FIN)
            thread.join()
            session.close()
            return received[0]

    return measured(runtime, mib, work)


def idle_kib(runtime, count):
    before = runtime.private_kib()
    sessions = [runtime.exec("sleep", "1000", stdout=False) for _ in range(count)]
    time.sleep(3)
    added = runtime.private_kib() - before
    for session in sessions:
        session.close()
    return added


def latency(runtimes, rounds):
    taken = {runtime.name: [] for runtime in runtimes}
    for turn in range(rounds):
        for runtime in cribench.abba(runtimes, turn):
            taken[runtime.name].append(true_ms(runtime))
    for name, values in taken.items():
        p50, p90 = statistics.median(values), statistics.quantiles(values, n=10)[-1]
        print(f"exec         {name:10} p50 {p50:7.2f} ms   p90 {p90:7.2f} ms", flush=True)
        yield {"section": "exec", "name": name, "p50_ms": p50, "p90_ms": p90}


TRANSFERS = {
    "stdout": stdout,
    "from pod": from_pod,
    "to pod": to_pod,
    "tunnel from": functools.partial(from_pod, tunnel=True),
    "tunnel to": functools.partial(to_pod, tunnel=True),
}


def transfers(runtimes, mib):
    for section, measure in TRANSFERS.items():
        for turn in range(2):
            for runtime in cribench.abba(runtimes, turn):
                figures = {"section": section, "name": runtime.name}
                try:
                    speed, cpu, peak = measure(runtime, mib)
                    text = f"{speed:7.0f} MiB/s   {cpu:5.2f} CPU s   {peak:6} KiB more at most"
                    figures |= {"mib_per_s": speed, "cpu_s": cpu, "peak_kib": peak}
                except Refused as refused:
                    text = f"refuses: {refused}"
                    figures |= {"refused": str(refused)}
                print(f"{section:12} {runtime.name:10} {text}", flush=True)
                yield figures


def idle(runtimes, count):
    for runtime in runtimes:
        added = idle_kib(runtime, count)
        print(f"idle         {runtime.name:10} {added:7} KiB for {count} sessions", flush=True)
        yield {"section": "idle", "name": runtime.name, "private_kib": added, "sessions": count}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--endpoint", required=True)
    parser.add_argument("--name", default="it")
    parser.add_argument("--vs")
    parser.add_argument("--vs-name", default="peer")
    parser.add_argument("--proto", default=os.path.join(os.path.dirname(__file__), "../proto/cri/v1/api.proto"))
    parser.add_argument("--json")
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--mib", type=int, default=512)
    parser.add_argument("--idle", type=int, default=200)
    args = parser.parse_args()
    stubs = cribench.load_stubs(args.proto)
    runtimes = [Runtime(args.name, args.endpoint, stubs)]
    if args.vs:
        runtimes.append(Runtime(args.vs_name, args.vs, stubs))
    try:
        figures = [*latency(runtimes, args.rounds), *transfers(runtimes, args.mib), *idle(runtimes, args.idle)]
    finally:
        for runtime in runtimes:
            runtime.teardown(runtime.pod, runtime.container)
    if args.json:
        with open(args.json, "w") as file:
            json.dump(figures, file, indent=1)


if __name__ == "__main__":
    main()
