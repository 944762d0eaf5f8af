"""What serving costs: `python benchmarks/serving.py BUNDLE [--data texts.txt] [--clients 8] [--seconds 4] [--rounds 5]
[--wrk] [--json]`, and `python benchmarks/serving.py BUNDLE --soak 100000` for what the runtime keeps.

The bare runtime called by as many threads as there are clients (loaded as it is by default, and with one thread an
operator: the better counts), against `edgelm serve` asked over as many connections; in turn, each in processes that
stay. The clients are a process of their own, which takes part of the same cores: CPU times say how much. Then latencies
below saturation: requests at even distances, at a share of the served throughput, each measured from when it was due.
`--wrk` also has wrk (Debian's package) ask. Other texts for each request, in turn.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import psutil
from machine import print_machine

from edgelm.runtime import open_bundle
from edgelm.runtime.golden import Golden

BARE = """
import itertools, json, sys, threading, time
from edgelm.runtime import load
model = load(sys.argv[1], threads=int(sys.argv[2]) or None)
texts = json.load(open(sys.argv[3]))
model(texts[0])
print("ready", flush=True)
for line in sys.stdin:
    clients, seconds = int(line.split()[0]), float(line.split()[1])
    counts, end = [0] * clients, time.perf_counter() + seconds
    def ask(place):
        for text in itertools.cycle(texts[place:] + texts[:place]):
            model(text)
            counts[place] += 1
            if time.perf_counter() > end:
                return
    threads = [threading.Thread(target=ask, args=(place,)) for place in range(clients)]
    start, before = time.perf_counter(), time.process_time()
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    print(json.dumps([sum(counts) / (time.perf_counter() - start)]), flush=True)
"""

# Clients of HTTP/1.1 with little more than the sockets: what they need of the CPU the server lacks.
CLIENTS = """
import asyncio, itertools, json, statistics, sys, time
host, port, path = sys.argv[1], int(sys.argv[2]), sys.argv[3]
bodies = [json.dumps(body).encode() for body in json.load(open(sys.argv[4]))]
head = f"POST {path} HTTP/1.1\\r\\nHost: {host}:{port}\\r\\nContent-Type: application/json\\r\\nContent-Length: "
requests = [head.encode() + str(len(body)).encode() + b"\\r\\n\\r\\n" + body for body in bodies]

class Connection(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport, self.data, self.waiting = transport, b"", None
    def data_received(self, data):
        self.data += data
        begin = self.data.find(b"\\r\\n\\r\\n") + 4
        if begin > 3:
            size = int(self.data[:begin].lower().split(b"content-length: ")[1].split(b"\\r\\n")[0])
            if len(self.data) >= begin + size:
                status, self.data = self.data[9:12], self.data[begin + size:]
                assert status == b"200", status
                self.waiting.set_result(None)
    def connection_lost(self, error):
        if self.waiting and not self.waiting.done():
            self.waiting.set_exception(ConnectionError())
    def ask(self, request):
        self.waiting = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return self.waiting

async def saturate(connections, seconds):
    count, end = 0, time.perf_counter() + seconds
    async def ask(place, connection):
        nonlocal count
        for request in itertools.cycle(requests[place:] + requests[:place]):
            await connection.ask(request)
            count += 1
            if time.perf_counter() > end:
                return
    start = time.perf_counter()
    await asyncio.gather(*(ask(*each) for each in enumerate(connections)))
    return [count / (time.perf_counter() - start)]

async def pace(connections, seconds, rate):
    free, took = asyncio.Queue(), []
    for connection in connections:
        free.put_nowait(connection)
    async def ask(request, due):
        connection = await free.get()
        await connection.ask(request)
        took.append(1000 * (time.perf_counter() - due))
        free.put_nowait(connection)
    start, tasks = time.perf_counter(), []
    for number in range(int(seconds * rate)):
        due = start + number / rate
        await asyncio.sleep(max(0, due - time.perf_counter()))
        tasks.append(asyncio.create_task(ask(requests[number % len(requests)], due)))
    await asyncio.gather(*tasks)
    took.sort()
    return [statistics.median(took), took[int(0.99 * len(took))]]

async def main():
    loop = asyncio.get_running_loop()
    async def line():
        return await loop.run_in_executor(None, sys.stdin.readline)
    print("ready", flush=True)
    while words := (await line()).split():
        clients, seconds, rate = int(words[0]), float(words[1]), float(words[2])
        connections = [(await loop.create_connection(Connection, host, port))[1] for _ in range(clients)]
        found = await (pace(connections, seconds, rate) if rate else saturate(connections, seconds))
        print(json.dumps(found), flush=True)
        [connection.transport.close() for connection in connections]

try:
    import uvloop
    uvloop.run(main())
except ImportError:
    asyncio.run(main())
"""

# wrk's own language: a request in turn from a file with one body a line.
WRK = """
local bodies, number = {}, 0
for line in io.lines("BODIES") do bodies[#bodies + 1] = line end
request = function()
  number = number % #bodies + 1
  return wrk.format("POST", "PATH", {["Content-Type"] = "application/json"}, bodies[number])
end
"""

# Threads that stay, as a server's do: each new one brings some memory of its own.
SOAK = """
import json, os, sys, threading, time
from edgelm.runtime import load
model = load(sys.argv[1], threads=1)
texts, total, threads = json.load(open(sys.argv[2])), int(sys.argv[3]), 16
done = [0] * threads
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
def ask(place):
    for number in range(total * 21 // 20 // threads):
        model(texts[(number + place) % len(texts)])
        done[place] += 1
workers = [threading.Thread(target=ask, args=(place,)) for place in range(threads)]
[worker.start() for worker in workers]
sizes = []
for part in range(11):
    while sum(done) < total // 20 + part * (total // 10) and any(worker.is_alive() for worker in workers):
        time.sleep(0.01)
    sizes.append(resident())
[worker.join() for worker in workers]
print(json.dumps(sizes))
"""


class Subject:
    """A process that works when a line asks it to, and the CPU time that it and `others` take meanwhile."""

    def __init__(self, script: str, *arguments: object) -> None:
        command = [sys.executable, "-c", script, *map(str, arguments)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        assert self.process.stdout.readline().strip() == "ready"

    def __call__(self, *words: object) -> list[float]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(" ".join(map(str, words)) + "\n")
        self.process.stdin.flush()
        found: list[float] = json.loads(self.process.stdout.readline())
        return found

    def close(self) -> None:
        """End the process."""
        self.process.communicate()


def cpu_s(pid: int) -> float:
    """CPU time of a process."""
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


def start_server(bundle: Path, threads: int, options: list[str]) -> tuple[subprocess.Popen[str], int]:
    """`edgelm serve` on a free port; the process, and the port."""
    command = [sys.executable, "-m", "edgelm", "serve", f"model={bundle}", "--port", "0", *options]
    command += ["--threads", str(threads)] if threads else []
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    for line in server.stdout:
        if found := re.search(r"http://127\.0\.0\.1:(\d+)", line):
            return server, int(found[1])
    raise SystemExit("the server did not start")


def measure(options: argparse.Namespace, samples: list[Any], work: Path) -> dict[str, Any]:
    """All figures: medians over the rounds, and of their ratios."""
    (work / "texts.json").write_text(json.dumps(samples))
    requests = [
        {"inputs": [{"name": "text", "datatype": "BYTES", "shape": [1], "data": [sample]}]} for sample in samples
    ]
    (work / "bodies.json").write_text(json.dumps(requests))
    (work / "bodies.txt").write_text("".join(json.dumps(request) + "\n" for request in requests))
    path = "/v2/models/model/infer"
    (work / "ask.lua").write_text(WRK.replace("BODIES", str(work / "bodies.txt")).replace("PATH", path))
    server, port = start_server(options.bundle, options.threads, options.serve)
    bare = {
        "bare": Subject(BARE, options.bundle, options.threads, work / "texts.json"),
        "bare_1_thread": Subject(BARE, options.bundle, 1, work / "texts.json"),
    }
    clients = Subject(CLIENTS, "127.0.0.1", port, path, work / "bodies.json")
    rounds: list[dict[str, float]] = []
    try:
        clients(options.clients, 1, 0)
        for number in range(options.rounds):
            found: dict[str, float] = {}
            for subject in (*bare, "served")[:: 1 if number % 2 else -1]:
                found |= (
                    _served(clients, server, options) if subject == "served" else _bare(subject, bare[subject], options)
                )
            if options.wrk:
                found |= _wrk(port, work / "ask.lua", server, options)
            rounds.append(found)
        typical = statistics.median(found["served_per_s"] for found in rounds)
        paced = [clients(options.clients, options.seconds, typical * options.load) for _ in range(options.rounds)]
    finally:
        server.terminate()
        for subject in (*bare.values(), clients):
            subject.close()
    figures: dict[str, Any] = {name: statistics.median(found[name] for found in rounds) for name in rounds[0]}
    ratios = sorted(found["served_per_s"] / max(found["bare_per_s"], found["bare_1_thread_per_s"]) for found in rounds)
    figures |= {"served_to_bare": statistics.median(ratios), "served_to_bare_range": [ratios[0], ratios[-1]]}
    figures["cpu_bare_to_served"] = statistics.median(
        min(found["bare_cpu_ms"], found["bare_1_thread_cpu_ms"]) / found["server_cpu_ms"] for found in rounds
    )
    p50, p99 = (statistics.median(values) for values in zip(*paced, strict=True))
    return figures | {
        "load": options.load,
        "p50_ms": p50,
        "p99_ms": p99,
        "p99_to_p50": statistics.median(each[1] / each[0] for each in paced),
        "server_exit_code": server.wait(30),
    }


def _bare(name: str, bare: Subject, options: argparse.Namespace) -> dict[str, float]:
    before = cpu_s(bare.process.pid)
    (per_s,) = bare(options.clients, options.seconds)
    return {f"{name}_per_s": per_s, f"{name}_cpu_ms": _cpu_ms(before, bare.process.pid, per_s, options)}


def _served(clients: Subject, server: subprocess.Popen[str], options: argparse.Namespace) -> dict[str, float]:
    before, also = cpu_s(server.pid), cpu_s(clients.process.pid)
    (per_s,) = clients(options.clients, options.seconds, 0)
    return {
        "served_per_s": per_s,
        "server_cpu_ms": _cpu_ms(before, server.pid, per_s, options),
        "client_cpu_ms": _cpu_ms(also, clients.process.pid, per_s, options),
    }


def _cpu_ms(before: float, pid: int, per_s: float, options: argparse.Namespace) -> float:
    return 1000 * (cpu_s(pid) - before) / (per_s * options.seconds)


def _wrk(port: int, script: Path, server: subprocess.Popen[str], options: argparse.Namespace) -> dict[str, float]:
    command = [
        *("wrk", "-t1", f"-c{options.clients}", f"-d{options.seconds:g}s", "--latency", "-s", str(script)),
        f"http://127.0.0.1:{port}/",
    ]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "Non-2xx" not in text, text
    found = re.search(r"Requests/sec:\s*([\d.]+)", text)
    assert found is not None, text
    return {"wrk_per_s": float(found[1])}


def soak(bundle: Path, samples: list[Any], count: int, work: Path) -> dict[str, Any]:
    """Memory in 10^6 bytes that a process holds while 16 threads ask so often: after a twentieth of it, and after each
    tenth."""
    (work / "texts.json").write_text(json.dumps(samples))
    command = [sys.executable, "-c", SOAK, str(bundle), str(work / "texts.json"), str(count)]
    sizes = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return {"requests": count, "resident_mb": sizes, "growth": sizes[-1] / sizes[0] - 1}


def main() -> None:
    """Print the figures as a table or, with --json, as one object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path, help="of a model that reads single texts")
    parser.add_argument("--data", type=Path, help="a text a line; without it the bundle's golden texts")
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=0, help="of one operator; 0: as the bundle says")
    parser.add_argument("--load", type=float, default=0.5, help="share of the served throughput for latencies")
    parser.add_argument("--serve", nargs="*", default=[], help="options of edgelm serve, without their hyphens")
    parser.add_argument("--wrk", action="store_true")
    parser.add_argument("--soak", type=int, metavar="REQUESTS")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    options.serve = [f"--{word}" if re.match("[a-z]", word) else word for word in options.serve]
    if options.wrk and shutil.which("wrk") is None:
        parser.error("wrk is not there: apt-get install wrk")
    print_machine(aside=True)
    if options.data:
        samples = [line for line in options.data.read_text(encoding="utf-8").splitlines() if line.strip()][:512]
    else:
        samples = Golden.from_json(open_bundle(options.bundle).read("golden.json")).texts
    os.environ["OMP_NUM_THREADS"] = "1"
    with tempfile.TemporaryDirectory() as folder:
        if options.soak:
            figures = soak(options.bundle, samples, options.soak, Path(folder))
        else:
            figures = measure(options, samples, Path(folder))
    if options.json:
        print(json.dumps(figures))
        return
    for name, value in figures.items():
        print(f"{name:24}{value:12.4f}" if isinstance(value, float) else f"{name:24}{value}")


if __name__ == "__main__":
    main()
