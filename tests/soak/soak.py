#!/usr/bin/env python3
"""Runs a topology for a long time at a steady rate, with kills, and draws what it costs.

    tests/soak/soak.py --herald target/release/herald --minutes 60 --out docs/soak

Starts a Kafka of its own, feeds it with a second Herald, kills the topology every --kill minutes and starts it
again on its state. Writes OUT.csv (a line every five seconds) and OUT.svg, and fails when rows were lost or
doubled, or when memory, state, open files or latency of the last quarter are above those of the second.
"""

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
HERE = os.path.dirname(os.path.abspath(__file__))
FEED, TOPOLOGY = "127.0.0.1:7431", "127.0.0.1:7432"
EVERY = 5
COLUMNS = ["minute", "memory MiB", "state MiB", "open files", "latency p50 ms", "latency p99 ms", "rows per second"]


def get(url):
    with urllib.request.urlopen(url, timeout=5) as answer:
        return answer.read().decode()


def metric(text, name):
    """The sum of a metric's series; buckets come as {bound: count}."""
    total, buckets = 0.0, {}
    for line in text.splitlines():
        head, _, value = line.rpartition(" ")
        if head.split("{")[0] == name:
            total += float(value)
            if 'le="' in head:
                buckets[float(head.split('le="')[1].split('"')[0])] = float(value)
    return buckets or total


def quantile(before, after, q):
    """Of the histogram between two samples, linear within a bucket, in milliseconds."""
    counts = [(bound, after[bound] - before.get(bound, 0)) for bound in sorted(after)]
    if not counts or counts[-1][1] <= 0:
        return None
    wanted, low, seen = counts[-1][1] * q, 0.0, 0.0
    for bound, count in counts:
        if count >= wanted:
            high = low if bound == float("inf") else bound
            share = (wanted - seen) / (count - seen) if count > seen else 1
            return 1000 * (low + (high - low) * share)
        low, seen = bound, count
    return None


class Soak:
    def __init__(self, args):
        self.args = args
        self.dir = tempfile.mkdtemp(prefix="herald-soak-")
        self.children = []
        kafka = [f"{ROOT}/scripts/kafka.sh", "start", f"{self.dir}/kafka", "--watch", str(os.getpid())]
        said = subprocess.run(kafka, check=True, capture_output=True, text=True).stdout
        # Event time goes on a millisecond a row.
        self.env = dict(
            os.environ,
            KAFKA_BOOTSTRAP=said.split("bootstrap=")[1].split()[0],
            RATE=str(args.rate),
            START=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        )

    def run(self, name, listen, *more):
        command = [self.args.herald, "run", f"{HERE}/{name}.sql", "--state", f"{self.dir}/{name}", "--listen", listen]
        log = open(f"{self.dir}/{name}.log", "a")
        child = subprocess.Popen(command + list(more), env=self.env, stdout=log, stderr=log)
        self.children.append(child)
        return child

    def ready(self, child, listen):
        for _ in range(600):
            try:
                if get(f"http://{listen}/readyz"):
                    return
            except OSError:
                pass
            if child.poll() is not None:
                sys.exit(f"it ended: see {self.dir}")
            time.sleep(0.1)
        sys.exit(f"it does not become ready: see {self.dir}")

    def sample(self, child, begun, last):
        text = get(f"http://{TOPOLOGY}/metrics")
        with open(f"/proc/{child.pid}/status") as status:
            rss = next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))
        now = time.monotonic()
        buckets = metric(text, "herald_end_to_end_latency_seconds_bucket")
        accepted = metric(text, "herald_source_records_total")
        row = None
        if last:
            then, before, rows = last
            p50, p99 = quantile(before, buckets, 0.5), quantile(before, buckets, 0.99)
            if p50 is not None:
                row = [(now - begun) / 60, rss / 1024, metric(text, "herald_state_bytes") / 2**20,
                       len(os.listdir(f"/proc/{child.pid}/fd")), p50, p99, (accepted - rows) / (now - then) / 2]
        return row, (now, buckets, accepted)

    def go(self):
        feed = self.run("feed", FEED)
        self.ready(feed, FEED)
        begun, rows, kills = time.monotonic(), [], []
        out = open(f"{self.args.out}.csv", "w")
        out.write(",".join(COLUMNS) + "\n")
        while time.monotonic() - begun < self.args.minutes * 60:
            child, last = self.run("soak", TOPOLOGY), None
            self.ready(child, TOPOLOGY)
            until = time.monotonic() + self.args.kill * 60
            while time.monotonic() < min(until, begun + self.args.minutes * 60):
                time.sleep(EVERY)
                row, last = self.sample(child, begun, last)
                if row:
                    rows.append(row)
                    out.write(",".join(f"{value:.3f}" for value in row) + "\n")
                    out.flush()
            child.kill()
            child.wait()
            kills.append((time.monotonic() - begun) / 60)
        feed.send_signal(signal.SIGTERM)
        feed.wait()
        end = self.run("soak", TOPOLOGY, "--once")
        end.wait()
        ask = [self.args.herald, "query", "SELECT n, ids FROM total", "--state", f"{self.dir}/soak", "--format", "json"]
        held = json.loads(subprocess.run(ask, check=True, capture_output=True, text=True).stdout)[0]
        n = held["n"]
        if str(held["ids"]) != str(n * (n - 1) // 2):
            sys.exit(f"rows were lost or doubled: {held}")
        print(f"{n} rows, each once, through {len(kills)} kills")
        draw(rows, kills, f"{self.args.out}.svg")
        levels(rows)

    def end(self):
        for child in self.children:
            if child.poll() is None:
                child.kill()
        subprocess.run([f"{ROOT}/scripts/kafka.sh", "stop", f"{self.dir}/kafka", "--now"], check=False)


def levels(rows):
    """The median of the last quarter must not be above that of the second by more than a fifth."""
    grown = []
    for at, name in enumerate(COLUMNS[1:6], 1):
        values = [row[at] for row in rows]
        quarter = len(values) // 4
        early, late = statistics.median(values[quarter:2 * quarter]), statistics.median(values[3 * quarter:])
        print(f"{name:16} second quarter {early:10.1f}   last quarter {late:10.1f}")
        if late > early * 1.2:
            grown.append(name)
    if grown:
        sys.exit(f"still growing: {', '.join(grown)}")


def draw(rows, kills, path):
    """One panel a measure, drawn by hand: there is nothing to install."""
    width, height, left, gap = 860, 110, 110, 34
    panels = COLUMNS[1:]
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width + left + 20}" height="{(height + gap) * len(panels) + 30}" '
             'font-family="sans-serif" font-size="12"><rect width="100%" height="100%" fill="white"/>']
    end = max(row[0] for row in rows)
    for panel, name in enumerate(panels):
        top = panel * (height + gap) + 20
        values = [row[panel + 1] for row in rows]
        most = max(values) * 1.1 or 1
        parts.append(f'<text x="8" y="{top + 14}">{name}</text><text x="{left - 6}" y="{top + 30}" text-anchor="end">{most:.0f}</text>'
                     f'<text x="{left - 6}" y="{top + height}" text-anchor="end">0</text>'
                     f'<rect x="{left}" y="{top}" width="{width}" height="{height}" fill="none" stroke="#bbb"/>')
        for kill in kills:
            x = left + min(kill / end, 1) * width
            parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{top + height}" stroke="#d66" stroke-dasharray="3 3"/>')
        points = " ".join(f"{left + row[0] / end * width:.1f},{top + height - value / most * height:.1f}"
                          for row, value in zip(rows, values))
        parts.append(f'<polyline points="{points}" fill="none" stroke="#246" stroke-width="1"/>')
    parts.append(f'<text x="{left}" y="{(height + gap) * len(panels) + 22}">0 to {end:.0f} minutes; dashed lines: kill -9 and restart</text></svg>')
    with open(path, "w") as out:
        out.write("\n".join(parts))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--herald", required=True)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--kill", type=float, default=7, help="minutes between kills")
    parser.add_argument("--rate", type=int, default=1000, help="rows a second")
    parser.add_argument("--out", required=True)
    soak = Soak(parser.parse_args())
    try:
        soak.go()
    finally:
        soak.end()


if __name__ == "__main__":
    main()
