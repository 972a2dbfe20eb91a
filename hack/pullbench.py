#!/usr/bin/env python3
"""pullbench: figures of pulls and of the image store, of one CRI runtime or of two in one run, interleaved.

  pullbench.py --endpoint unix:///run/a.sock --registry 127.0.0.1:5000
      [--vs unix:///run/b.sock] [--proto proto/cri/v1/api.proto] [--parts big,present,small,list]
      [--forms gzip,zstd] [--rounds 3] [--many 1000] [--json FILE]

Both runtimes send every registry's name to the one at --registry, which has the images of
tests/images/make-bench-image.sh. Setup once: pip install grpcio grpcio-tools

  big      bench/big in gzip and zstd: wall time, CPU seconds and peak memory of the daemon, its memory when it has come
           to rest, and how long RemoveImage takes. Both pull before anything is deleted, and a minute after it was
  present  the same digest again
  small    the 40 images of bench/small at once
  list     ListImages with --many images; of the first runtime only
"""
import argparse
import concurrent.futures as cf
import hashlib
import http.client
import json
import os
import statistics
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import cribench  # noqa: E402

BIG = {form: f"docker.io/bench/big:{form}" for form in ("gzip", "zstd")}
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
# Memory is at rest when it has not fallen for so long.
REST_S, REST_AT_MOST_S = 2, 20
# A daemon has been idle if its CPU time stood still for a second; it is waited for so long.
IDLE_AT_MOST_S = 60


class Runtime(cribench.Runtime):
    def __init__(self, name, endpoint, stubs):
        super().__init__(name, endpoint, *stubs, handler="", image=cribench.BUSYBOX)

    def spec(self, ref):
        return self.pb.ImageSpec(image=ref)

    def pull(self, ref):
        return self.timed_ms(lambda: self.im.PullImage(self.pb.PullImageRequest(image=self.spec(ref))))

    def remove(self, ref):
        return self.timed_ms(lambda: self.im.RemoveImage(self.pb.RemoveImageRequest(image=self.spec(ref))))

    def status(self, ref):
        return self.im.ImageStatus(self.pb.ImageStatusRequest(image=self.spec(ref))).image

    def list(self):
        return self.timed_ms(lambda: self.im.ListImages(self.pb.ListImagesRequest()))

    @staticmethod
    def timed_ms(act):
        begun = time.perf_counter()
        act()
        return (time.perf_counter() - begun) * 1e3


def status_mib(pid, field):
    for line in cribench.read(f"/proc/{pid}/status").splitlines():
        if line.startswith(field + ":"):
            return round(int(line.split()[1]) / 1024, 1)
    return 0.0


def forget_peak(pid):
    with open(f"/proc/{pid}/clear_refs", "w") as file:
        file.write("5")


def at_rest_mib(pid):
    """The daemon's memory once it no longer falls."""
    lowest, since, begun = float("inf"), time.monotonic(), time.monotonic()
    while time.monotonic() - since < REST_S and time.monotonic() - begun < REST_AT_MOST_S:
        now = status_mib(pid, "VmRSS")
        if now < lowest:
            lowest, since = now, time.monotonic()
        time.sleep(0.1)
    return lowest


# ext4 without a journal steps over inodes that were freed less than 60 s ago (fs/ext4/ialloc.c, recently_deleted).
FREED_LATELY_S = 65


def forget_freed(runtimes):
    """Waits until what was deleted before slows down no one who makes files."""
    settle(runtimes)
    time.sleep(FREED_LATELY_S)


def settle(runtimes):
    """Waits until nobody deletes any more and all is on disk: what one pull left is not for the next one to pay."""
    begun, before = time.monotonic(), None
    while time.monotonic() - begun < IDLE_AT_MOST_S:
        now = [cribench.cpu_tree(runtime.daemon_pid()) for runtime in runtimes]
        if now == before:
            break
        before = now
        time.sleep(1)
    os.sync()


def of_all(runtimes, rounds, measure):
    """One figure of each runtime and round, the order turned each time."""
    figures = {runtime.name: [] for runtime in runtimes}
    for at in range(rounds):
        for runtime in cribench.abba(runtimes, at):
            figures[runtime.name].append(measure(runtime))
    return figures


def median(figures, key):
    return statistics.median(figure[key] for figure in figures)


def big_pull(runtimes, runtime, ref):
    settle(runtimes)
    pid = runtime.daemon_pid()
    forget_peak(pid)
    cpu = cribench.cpu_tree(pid)
    wall_ms = runtime.pull(ref)
    cpu = cribench.cpu_tree(pid) - cpu
    peak_mib = status_mib(pid, "VmHWM")
    return {"wall_s": wall_ms / 1e3, "cpu_s": cpu, "peak_mib": peak_mib, "rest_mib": at_rest_mib(pid)}


def big_round(runtimes, at, ref):
    """Figures of each runtime, in an order that turns from round to round."""
    for runtime in runtimes:
        runtime.remove(ref)
    forget_freed(runtimes)
    figures = {runtime.name: big_pull(runtimes, runtime, ref) for runtime in cribench.abba(runtimes, at)}
    settle(runtimes)
    for runtime in runtimes:
        figures[runtime.name]["remove_s"] = runtime.remove(ref) / 1e3
    return figures


def big(runtimes, args):
    found = {}
    for form in args.forms.split(","):
        rounds = [big_round(runtimes, at, BIG[form]) for at in range(args.rounds)]
        found[form] = {runtime.name: [figures[runtime.name] for figures in rounds] for runtime in runtimes}
        for key, unit in (("wall_s", "s"), ("cpu_s", "CPU s"), ("peak_mib", "MiB at most"), ("rest_mib", "MiB at rest"), ("remove_s", "s to remove")):
            show(f"1 GiB {form}", {name: median(figures, key) for name, figures in found[form].items()}, unit)
    return found


def present(runtimes, args):
    ref = BIG["gzip"]
    found = {}
    for runtime in runtimes:
        runtime.pull(ref)
        digest = runtime.status(ref).repo_digests[0]
        runtime.pull(digest)
        found[runtime.name] = [runtime.pull(digest) for _ in range(20)]
        runtime.remove(ref)
    show("the same digest again", {name: statistics.median(times) for name, times in found.items()}, "ms")
    return found


def small_pulls(runtimes, runtime, refs):
    for ref in refs:
        runtime.remove(ref)
    settle(runtimes)
    cpu = cribench.cpu_tree(runtime.daemon_pid())
    begun = time.perf_counter()
    with cf.ThreadPoolExecutor(len(refs)) as clients:
        list(clients.map(runtime.pull, refs))
    wall_s = time.perf_counter() - begun
    return {"wall_s": wall_s, "cpu_s": cribench.cpu_tree(runtime.daemon_pid()) - cpu}


def small(runtimes, args):
    refs = [f"docker.io/bench/small:{tag}" for tag in Registry(args.registry).tags("bench/small") if tag.isdigit()]
    found = of_all(runtimes, args.rounds, lambda runtime: small_pulls(runtimes, runtime, refs))
    for key, unit in (("wall_s", "s"), ("cpu_s", "CPU s")):
        show(f"{len(refs)} small images at once", {name: median(figures, key) for name, figures in found.items()}, unit)
    for runtime in runtimes:
        for ref in refs:
            runtime.remove(ref)
    return found


class Registry:
    def __init__(self, address):
        self.connection = http.client.HTTPConnection(address)

    def ask(self, method, path, body=None, kind="application/octet-stream", accept="*/*"):
        self.connection.request(method, path, body, {"Content-Type": kind, "Accept": accept})
        answer = self.connection.getresponse()
        content = answer.read()
        if answer.status >= 300:
            sys.exit(f"{method} {path}: {answer.status} {content[:200]!r}")
        return answer, content

    def tags(self, repository):
        return sorted(json.loads(self.ask("GET", f"/v2/{repository}/tags/list")[1])["tags"])

    def push_variants(self, repository, tag, count):
        """Images that differ by a label only, under the tags many-0, many-1, …"""
        manifest = json.loads(self.ask("GET", f"/v2/{repository}/manifests/{tag}", accept=MANIFEST)[1])
        config = json.loads(self.ask("GET", f"/v2/{repository}/blobs/{manifest['config']['digest']}")[1])
        for at in range(count):
            config["config"]["Labels"] = {"variant": str(at)}
            body = json.dumps(config).encode()
            digest = "sha256:" + hashlib.sha256(body).hexdigest()
            place = self.ask("POST", f"/v2/{repository}/blobs/uploads/")[0].headers["Location"].split("://")[-1].partition("/")[2]
            self.ask("PUT", f"/{place}&digest={digest}", body)
            manifest["config"].update(digest=digest, size=len(body))
            self.ask("PUT", f"/v2/{repository}/manifests/many-{at}", json.dumps(manifest), MANIFEST)


def list_many(runtimes, args):
    runtime, registry = runtimes[0], Registry(args.registry)
    if f"many-{args.many - 1}" not in registry.tags("bench/small"):
        registry.push_variants("bench/small", "1", args.many)
    refs = [f"docker.io/bench/small:many-{at}" for at in range(args.many)]
    begun = time.perf_counter()
    with cf.ThreadPoolExecutor(16) as clients:
        list(clients.map(runtime.pull, refs))
    pulled_s = time.perf_counter() - begun
    times = [runtime.list() for _ in range(100)]
    p50, p99 = statistics.median(times), statistics.quantiles(times, n=100)[98]
    show(f"{args.many} images of one layer, pulled by 16", {runtime.name: pulled_s}, "s")
    show(f"list of {args.many} images, p50", {runtime.name: p50}, "ms")
    show(f"list of {args.many} images, p99", {runtime.name: p99}, "ms")
    show("the daemon with these", {runtime.name: at_rest_mib(runtime.daemon_pid())}, "MiB")
    with cf.ThreadPoolExecutor(16) as clients:
        list(clients.map(runtime.remove, refs))
    return {runtime.name: {"p50_ms": p50, "p99_ms": p99, "pulled_s": pulled_s}}


def show(label, values, unit):
    names = list(values)
    line = f"{label:40} " + "   ".join(f"{name} {values[name]:8.2f} {unit}" for name in names)
    if len(names) == 2 and values[names[1]]:
        line += f"   {values[names[0]] / values[names[1]]:.3f} x"
    print(line, flush=True)


PARTS = {"big": big, "present": present, "small": small, "list": list_many}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--endpoint", required=True)
    parser.add_argument("--name", default="it")
    parser.add_argument("--vs")
    parser.add_argument("--vs-name", default="peer")
    parser.add_argument("--registry", required=True)
    parser.add_argument("--proto", default=os.path.join(os.path.dirname(__file__), "../proto/cri/v1/api.proto"))
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--forms", default=",".join(BIG))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--many", type=int, default=1000)
    parser.add_argument("--json")
    args = parser.parse_args()
    stubs = cribench.load_stubs(args.proto)
    runtimes = [Runtime(args.name, args.endpoint, stubs)]
    if args.vs:
        runtimes.append(Runtime(args.vs_name, args.vs, stubs))
    found = {"load_before": os.getloadavg()}
    for part in args.parts.split(","):
        found[part] = PARTS[part](runtimes, args)
    if args.json:
        with open(args.json, "w") as file:
            json.dump(found, file, indent=1)


if __name__ == "__main__":
    main()
