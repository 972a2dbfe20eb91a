#!/usr/bin/env python3
"""streambench: figures of exec and port-forward over SPDY, of one CRI runtime or of two in one run, interleaved.

  streambench.py --endpoint unix:///run/a.sock --container ID --pod ID
      [--vs unix:///run/b.sock --vs-container ID --vs-pod ID] [--proto proto/cri/v1/api.proto]
      [--rounds 40] [--mib 512] [--idle 200]

The containers run, have `true`, `dd` and `sleep`, and their pods share the host's network, where this program listens.
It speaks SPDY itself, so that no other client's start or speed is measured. Setup once: pip install grpcio grpcio-tools

  exec       from the URL's request to the status of `true`, p50 and p90
  stdout     MiB/s of a command's output, the CPU seconds of daemon and shim for it, and what it added to the daemon's
             resident memory at most
  forward    the same for a connection into the pod, from it and to it
  idle       what --idle sessions of `sleep` add to the daemon's private memory
"""
import argparse
import contextlib
import os
import socket
import statistics
import struct
import sys
import threading
import time
import urllib.parse
import zlib

import grpc

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


class Session:
    """A client of SPDY on one connection."""

    def __init__(self, url, version):
        parts = urllib.parse.urlsplit(url)
        self.socket = socket.create_connection((parts.hostname, parts.port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.sendall(
            f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n"
            f"X-Stream-Protocol-Version: {version}\r\nContent-Length: 0\r\n\r\n".encode()
        )
        answer = b""
        while b"\r\n\r\n" not in answer:
            if not (more := self.socket.recv(4096)):
                sys.exit(f"no upgrade: {answer!r}")
            answer += more
        if not answer.startswith(b"HTTP/1.1 101 "):
            sys.exit(f"no upgrade: {answer!r}")
        self.unread = answer.split(b"\r\n\r\n", 1)[1]
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
        data, head, left, payload = memoryview(self.unread), b"", 0, b""
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


class Runtime:
    def __init__(self, name, endpoint, container, pod, stubs):
        self.name, self.container, self.pod = name, container, pod
        self.pb, grpc_stubs = stubs
        self.cri = grpc_stubs.RuntimeServiceStub(grpc.insecure_channel(endpoint, [("grpc.default_authority", "localhost")]))
        self.cri.Version(self.pb.VersionRequest())
        with socket.socket(socket.AF_UNIX) as peer:
            peer.connect(endpoint.removeprefix("unix://"))
            self.daemon = struct.unpack("3i", peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]

    def exec(self, *command, stdout=True):
        request = self.pb.ExecRequest(container_id=self.container, cmd=command, stdout=stdout, stdin=not stdout)
        session = Session(self.cri.Exec(request).url, "v4.channel.k8s.io")
        session.open(streamtype="error")
        session.open(streamtype="stdout" if stdout else "stdin")
        return session

    def forward(self, port):
        session = Session(self.cri.PortForward(self.pb.PortForwardRequest(pod_sandbox_id=self.pod)).url, "portforward.k8s.io")
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


def from_pod(runtime, mib):
    chunk = bytes(256 << 10)

    def serve(connection):
        for _ in range(mib * 4):
            connection.sendall(chunk)
        connection.close()

    def work():
        with listener(serve) as (port, _):
            session, stream = runtime.forward(port)
            count = 0
            for of, data, ended in session.frames({1}):
                count += data if of == stream else 0
                if of == stream and ended:
                    break
            session.close()
            return count

    return measured(runtime, mib, work)


def to_pod(runtime, mib):
    chunk, received = bytes(64 << 10), [0]

    def serve(connection):
        while data := connection.recv(1 << 20):
            received[0] += len(data)

    def work():
        with listener(serve) as (port, thread):
            session, stream = runtime.forward(port)
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


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for side in ("", "vs-"):
        parser.add_argument("--vs" if side else "--endpoint", required=not side)
        parser.add_argument(f"--{side}container", required=not side)
        parser.add_argument(f"--{side}pod", required=not side)
    parser.add_argument("--proto", default=os.path.join(os.path.dirname(__file__), "../proto/cri/v1/api.proto"))
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--mib", type=int, default=512)
    parser.add_argument("--idle", type=int, default=200)
    args = parser.parse_args()
    stubs = cribench.load_stubs(args.proto)
    runtimes = [Runtime("it", args.endpoint, args.container, args.pod, stubs)]
    if args.vs:
        runtimes.append(Runtime("peer", args.vs, args.vs_container, args.vs_pod, stubs))
    latencies = {runtime.name: [] for runtime in runtimes}
    for _ in range(args.rounds):
        for runtime in runtimes:
            latencies[runtime.name].append(true_ms(runtime))
    for name, values in latencies.items():
        p50, p90 = statistics.median(values), statistics.quantiles(values, n=10)[-1]
        print(f"exec     {name:5} p50 {p50:7.2f} ms   p90 {p90:7.2f} ms", flush=True)
    for label, measure in (("stdout", stdout), ("from pod", from_pod), ("to pod", to_pod)):
        for _ in range(2):
            for runtime in runtimes:
                speed, cpu, peak = measure(runtime, args.mib)
                figures = f"{speed:7.0f} MiB/s   {cpu:5.2f} CPU s   {peak:6} KiB more at most"
                print(f"{label:8} {runtime.name:5} {figures}", flush=True)
    for runtime in runtimes:
        print(f"idle     {runtime.name:5} {idle_kib(runtime, args.idle):7} KiB for {args.idle} sessions", flush=True)


if __name__ == "__main__":
    main()
