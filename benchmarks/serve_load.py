"""Load on ``layalign serve``: how much faster than one request after the other, and what is lost.

A bounded number of requests to a server on this machine, which this script starts and stops::

    python benchmarks/serve_load.py smollm2-e5 --output load.json

First the questions are answered one by one without a server. Then the same questions go to the
server from several clients at once, and every answer has to be the same. At last honest clients ask
again while others vanish, stall, send garbage and flood the queue.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from openai import OpenAI

from layalign.data import Example
from layalign.data.word_problems import load_word_problems
from layalign.eval.loading import load_systems

LANGUAGES = ("sw", "th", "de", "en")
PATIENCE = 100  # times that an honest client comes back when the queue is full


def one_by_one(
    checkpoint: str, questions: Sequence[Example], length: int, dtype: str | None
) -> dict[str, Any]:
    """Answer without a server, as the baseline."""
    loaded = load_systems(checkpoint, bare=False, dtype=dtype, max_new_tokens=length)
    system = next(iter(loaded.values()))
    system.answer(questions[:1])  # what is done only once is not counted
    start = time.perf_counter()
    answers = [system.answer([question])[0] for question in questions]
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "tokens": sum(a.new_tokens for a in answers), "answers": answers}


@contextmanager
def serving(checkpoint: str, length: int, port: int, dtype: str | None) -> Iterator[str]:
    """A server in a process of its own; gives its address."""
    options = [f"--max-new-tokens={length}", "--max-waiting=64", f"--port={port}"]
    options += [f"--dtype={dtype}"] if dtype else []
    argv = [sys.executable, "-m", "layalign", "serve", checkpoint, "--name=load", *options]
    with subprocess.Popen(argv, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        while not (found := re.search(r"at (http://\S+)", line := process.stderr.readline())):
            if not line:
                raise SystemExit("the server did not start")
        with ThreadPoolExecutor(1) as pool:
            pool.submit(process.stderr.read)  # or the server would wait for a reader
            try:
                yield found[1]
            finally:
                process.send_signal(signal.SIGTERM)


def ask(client: OpenAI, question: Example, length: int) -> tuple[str, int, float]:
    """Answer, tokens and seconds of one request."""
    start = time.perf_counter()
    found = client.chat.completions.create(
        model="load",
        messages=[{"role": "user", "content": question.text}],
        max_tokens=length,
        extra_body={"language": question.language},
    )
    seconds = time.perf_counter() - start
    assert found.usage is not None
    return found.choices[0].message.content or "", found.usage.completion_tokens, seconds


def ask_all(
    url: str, questions: Sequence[Example], clients: int, length: int
) -> list[tuple[str, int, float]]:
    """What several clients at once are answered; they share the machine with the server."""
    with (
        # One object for all, because making it takes as long as some tokens.
        OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=PATIENCE, timeout=600) as client,
        ThreadPoolExecutor(clients) as pool,
    ):
        return list(pool.map(lambda question: ask(client, question, length), questions))


def together(
    url: str, questions: Sequence[Example], clients: int, length: int, baseline: dict[str, Any]
) -> dict[str, Any]:
    """The same questions from several clients at once."""
    start = time.perf_counter()
    found = ask_all(url, questions, clients, length)
    seconds = time.perf_counter() - start
    waits = sorted(wait for _, _, wait in found)
    pairs = zip(found, baseline["answers"], strict=True)
    tokens = sum(count for _, count, _ in found)
    return {
        "clients": clients,
        "tokens_per_second": tokens / seconds,
        "faster": (tokens / seconds) / (baseline["tokens"] / baseline["seconds"]),
        "p50": waits[len(waits) // 2],
        "p95": waits[min(len(waits) - 1, int(0.95 * len(waits)))],
        "other_answers": sum(text != answer.text for (text, _, _), answer in pairs),
    }


def connect(url: str, data: bytes) -> socket.socket:
    """Send bytes to the server."""
    host, port = url.removeprefix("http://").split(":")
    connection = socket.create_connection((host, int(port)), timeout=60)
    connection.sendall(data)
    return connection


def post(body: bytes) -> bytes:
    """A request as bytes."""
    head = "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json"
    return f"{head}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def vanish(url: str) -> str:
    """Ask, and leave before the answer."""
    with connect(url, post(_body(n=2))):
        time.sleep(random.random())
    return "vanished"


def stall(url: str) -> str:
    """Send nothing, half a head or half a request, or read nothing of a stream, for a while."""
    whole = post(_body())
    with connect(url, random.choice([b"", whole[:40], whole[:-5], post(_body(stream=True))])):
        time.sleep(3)
    return "stalled"


def garbage(url: str) -> str:
    """Send what is no request."""
    noise = random.randbytes(random.randint(1, 4000))
    with connect(url, noise if random.random() < 0.5 else post(noise)) as connection:
        connection.settimeout(3)
        try:
            answer = connection.recv(64)
        except TimeoutError:
            return "garbage, waited for more"
    return f"garbage, status {answer.split()[1].decode()}" if answer else "garbage, closed"


def flood(url: str) -> str:
    """Ask for more than the queue holds."""
    with connect(url, post(_body(n=48))) as connection:
        answer = connection.recv(64) if random.random() < 0.5 else b""
    return f"flood, status {answer.split()[1].decode()}" if answer else "flood, left"


def _body(**settings: Any) -> bytes:
    messages = [{"role": "user", "content": "How many?"}]
    return json.dumps({"messages": messages, **settings}).encode()


def hostile(
    url: str, questions: Sequence[Example], length: int, baseline: dict[str, Any], count: int
) -> dict[str, Any]:
    """Honest clients among others."""
    kinds: list[Callable[[str], str]] = [vanish, stall, garbage, flood]
    with ThreadPoolExecutor(8) as others:
        noise = [others.submit(kinds[i % len(kinds)], url) for i in range(count)]
        found = ask_all(url, questions, 8, length)
        outcomes = Counter(one.result() for one in noise)
    pairs = zip(found, baseline["answers"], strict=True)
    return {
        "lost": len(questions) - len(found),
        "other_answers": sum(text != answer.text for (text, _, _), answer in pairs),
        "others": dict(outcomes),
    }


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("checkpoint")
    parser.add_argument("--questions", type=int, default=64)
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--length", type=int, default=64, help="longest answer, tokens")
    parser.add_argument("--others", type=int, default=64, help="requests that mean no good")
    parser.add_argument("--port", type=int, default=8765)
    parser.add_argument("--dtype", help="of both models, on both sides")
    parser.add_argument("--output", type=Path)
    args = parser.parse_args()
    limit = -(-args.questions // len(LANGUAGES))
    questions = load_word_problems("test", languages=LANGUAGES, limit=limit)[: args.questions]
    baseline = one_by_one(args.checkpoint, questions, args.length, args.dtype)
    print(f"one by one: {baseline['tokens'] / baseline['seconds']:.1f} tokens/s")
    with serving(args.checkpoint, args.length, args.port, args.dtype) as url:
        levels = []
        for clients in args.clients:
            levels.append(together(url, questions, clients, args.length, baseline))
            print(json.dumps(levels[-1]))
        among = hostile(url, questions, args.length, baseline, args.others)
        print(json.dumps(among))
    baseline["answers"] = [answer.text for answer in baseline["answers"]]
    if args.output is not None:
        found = {"one_by_one": baseline, "together": levels, "hostile": among}
        args.output.write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n", "utf-8")


if __name__ == "__main__":
    main()
