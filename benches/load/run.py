#!/usr/bin/env python3
"""The load benchmark: a gated call against nginx, in interleaved rounds on one machine; the OAuth endpoints; what idles.

    cargo build --release && python3 benches/load/run.py [--rounds 5] [--seconds 4] [--write docs/benchmarks.md]

Needs Linux with two cores, nginx and wrk (Debian: nginx-light, wrk). The server under test has core 0 for itself; wrk,
the stub MCP server and the stub provider share core 1. "us" is CPU time of the server's process (all threads, from
/proc/PID/task/*/schedstat) per completed request. Speed is never asserted here: numbers are printed, and a row with an
error in it does not count.
"""
import argparse, base64, contextlib, glob, hashlib, html, http.client, json, os, re, secrets, shutil, signal, socket, statistics
import subprocess, sys, tempfile, time, urllib.parse

import flow

SERVER_CORE, LOAD_CORE = "0", "1"
TOOLS = json.dumps({"jsonrpc": "2.0", "id": 1, "result": {"tools": [
    {"name": f"tool_{n}", "description": "Does one thing, and does it well enough.",
     "inputSchema": {"type": "object", "properties": {"text": {"type": "string"}}}} for n in range(6)]}})
CALL = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}})
UPSTREAM_TOKEN = "gho_" + "u" * 36
EVENTS = 1000


# --- processes and their cost ------------------------------------------------------------------------------------

def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def cpu_ns(pids):
    """CPU time of all threads of these processes so far."""
    total = 0
    for pid in pids:
        for path in glob.glob(f"/proc/{pid}/task/*/schedstat"):
            try:
                total += int(open(path).read().split()[0])
            except OSError:
                pass
    return total


def pss_kib(pid):
    for line in open(f"/proc/{pid}/smaps_rollup"):
        if line.startswith("Pss:"):
            return int(line.split()[1])
    return 0


def children(pid):
    return [int(p) for p in open(f"/proc/{pid}/task/{pid}/children").read().split()]


def wait_for(port, path="/", process=None):
    """Seconds until something answers HTTP there."""
    start = time.perf_counter()
    while time.perf_counter() - start < 15 and not (process and process.poll() is not None):
        try:
            c = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            c.request("GET", path)
            c.getresponse().read()
            return time.perf_counter() - start
        except OSError:
            time.sleep(0.0005)
    raise SystemExit(f"nothing answers on port {port}")


class Nginx:
    def __init__(self, work, name, core, servers):
        self.dir = os.path.join(work, name)
        os.makedirs(self.dir)
        conf = os.path.join(self.dir, "nginx.conf")
        open(conf, "w").write(f"""
worker_processes 1; pid {self.dir}/pid; error_log {self.dir}/error.log; daemon off;
events {{ worker_connections 8192; }}
http {{ access_log off; keepalive_requests 100000000; client_body_temp_path {self.dir}/b;
  proxy_temp_path {self.dir}/p; fastcgi_temp_path {self.dir}/f; uwsgi_temp_path {self.dir}/u; scgi_temp_path {self.dir}/s;
{servers}
}}""")
        self.process = subprocess.Popen(["taskset", "-c", core, "nginx", "-c", conf, "-p", self.dir, "-e",
                                         f"{self.dir}/error.log"], stderr=subprocess.DEVNULL)

    def pids(self):
        return [self.process.pid] + children(self.process.pid)

    def stop(self):
        self.process.terminate()
        self.process.wait()


# --- stubs ---------------------------------------------------------------------------------------------------------

def provider_conf(port):
    """A plain OAuth provider that agrees to everything; enough to log in. Its `/authorize` is never fetched: whoever
    plays the browser goes straight to the callback."""
    say = lambda document: f"default_type application/json; return 200 '{json.dumps(document)}';"
    return f"""
server {{ listen 127.0.0.1:{port} backlog=4096; keepalive_requests 100000000;
  location /token {{ {say({"access_token": UPSTREAM_TOKEN, "token_type": "bearer", "scope": "read"})} }}
  location /user {{ {say({"id": 7, "login": "ann", "email": "ann@example.com"})} }} }}"""


STREAMS = r'''
import asyncio, sys
N = int(sys.argv[2])
event = b"event: message\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\"}\n\n"
chunk = b"%x\r\n%s\r\n" % (len(event), event)
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
BURST = HEAD + chunk * N + b"0\r\n\r\n"
class P(asyncio.Protocol):
    def connection_made(self, t): self.t, self.b = t, b""
    def data_received(self, d):
        self.b += d
        if b"\r\n\r\n" not in self.b: return
        hold = self.b.startswith(b"GET")
        self.b = b""
        self.t.write(HEAD + chunk if hold else BURST)
async def main():
    s = await asyncio.get_running_loop().create_server(P, "127.0.0.1", int(sys.argv[1]), backlog=4096)
    await s.serve_forever()
asyncio.run(main())
'''


class Feeder:
    def __init__(self, port):
        self.process = subprocess.Popen(["taskset", "-c", LOAD_CORE, sys.executable, "-c", STREAMS, str(port), str(EVENTS)])

    def stop(self):
        self.process.terminate()
        self.process.wait()


# --- load ----------------------------------------------------------------------------------------------------------

def wrk(work, url, seconds, connections=16, method="POST", body="", headers=None, vary=None):
    """One run of wrk: requests, seconds, errors, p50 and p99 in us."""
    headers = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"} | (headers or {})
    lines = [f"wrk.method = {json.dumps(method)}", f"wrk.body = {json.dumps(body)}"]
    lines += [f"wrk.headers[{json.dumps(k)}] = {json.dumps(v)}" for k, v in headers.items()]
    if vary:
        lines.append(vary)
    lines.append("""
function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format("RESULT %d %d %d %d %d\\n", summary.requests, summary.duration,
    e.connect + e.read + e.write + e.status + e.timeout, latency:percentile(50), latency:percentile(99)))
end""")
    script = os.path.join(work, "wrk.lua")
    open(script, "w").write("\n".join(lines))
    out = subprocess.run(["taskset", "-c", LOAD_CORE, "wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-s", script, url],
                         capture_output=True, text=True)
    found = re.search(r"RESULT (\d+) (\d+) (\d+) (\d+) (\d+)", out.stdout)
    if not found:
        raise SystemExit(f"wrk failed: {out.stdout} {out.stderr}")
    n, us, errors, p50, p99 = map(int, found.groups())
    return {"n": n, "rate": n / (us / 1e6), "errors": errors, "p50": p50, "p99": p99}


def measured(pids, run):
    before = cpu_ns(pids())
    row = run()
    row["us"] = (cpu_ns(pids()) - before) / 1e3 / max(row["n"], 1)
    return row


# --- one login, as a client and a browser --------------------------------------------------------------------------

class Browser:
    """Follows one login over keep-alive connections and keeps cookies of our server only."""

    def __init__(self, port):
        self.port, self.cookies = port, {}
        self.ours = http.client.HTTPConnection("127.0.0.1", port)

    def ask(self, method, path, form=None, json_body=None, headers=None):
        head = {"Host": f"127.0.0.1:{self.port}", "Sec-Fetch-Site": "same-origin", "Accept": "text/html"} | (headers or {})
        if self.cookies:
            head["Cookie"] = "; ".join(f"{k}={v}" for k, v in self.cookies.items())
        body = None
        if form is not None:
            body, head["Content-Type"] = urllib.parse.urlencode(form), "application/x-www-form-urlencoded"
            head["Origin"] = f"http://127.0.0.1:{self.port}"
        if json_body is not None:
            body, head["Content-Type"], head["Accept"] = json.dumps(json_body), "application/json", "application/json"
        self.ours.request(method, path, body, head)
        r = self.ours.getresponse()
        text = r.read().decode()
        for line in r.headers.get_all("Set-Cookie") or []:
            name, _, value = line.split(";")[0].partition("=")
            if "max-age=0" in line.lower():
                self.cookies.pop(name, None)
            else:
                self.cookies[name] = value
        return r.status, r.headers, text


REDIRECT = "http://127.0.0.1:33418/callback"


def register(browser):
    status, _, text = browser.ask("POST", "/register", json_body={
        "client_name": "load", "redirect_uris": [REDIRECT], "token_endpoint_auth_method": "none",
        "grant_types": ["authorization_code", "refresh_token"], "response_types": ["code"]})
    assert status == 201, (status, text)
    return json.loads(text)["client_id"]


def authorize_path(client, challenge, resource):
    return "/authorize?" + urllib.parse.urlencode({
        "response_type": "code", "client_id": client, "redirect_uri": REDIRECT, "code_challenge": challenge,
        "code_challenge_method": "S256", "state": "s", "resource": resource})


def code_for(browser, client, resource):
    """Consent, provider, callback: the code and its verifier."""
    verifier = secrets.token_urlsafe(40)
    challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
    status, headers, text = browser.ask("GET", authorize_path(client, challenge, resource), headers={"Sec-Fetch-Site": "none"})
    if status == 200:
        form = {html.unescape(n): html.unescape(v) for n, v in
                re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', text)}
        status, headers, text = browser.ask("POST", "/consent", form=form | {"decision": "approve"})
    for _ in range(6):
        assert status in (302, 303), (status, text[:600])
        url = urllib.parse.urlsplit(headers["Location"])
        if headers["Location"].startswith(REDIRECT):
            answer = dict(urllib.parse.parse_qsl(url.query))
            assert "code" in answer, answer
            return answer["code"], verifier
        asked = dict(urllib.parse.parse_qsl(url.query))
        callback = urllib.parse.urlsplit(asked["redirect_uri"]).path
        status, headers, text = browser.ask(
            "GET", callback + "?" + urllib.parse.urlencode({"code": "upstream", "state": asked["state"]}))
    raise SystemExit("the login went round in circles")


def redeem(browser, client, code, verifier, resource):
    status, _, text = browser.ask("POST", "/token", form={
        "grant_type": "authorization_code", "client_id": client, "code": code, "code_verifier": verifier,
        "redirect_uri": REDIRECT, "resource": resource}, headers={"Accept": "application/json"})
    assert status == 200, (status, text)
    return json.loads(text)["access_token"]


# --- the server under test -----------------------------------------------------------------------------------------

class Vestibule:
    def __init__(self, binary, work, backend, streams, provider):
        self.port, self.admin = free_port(), free_port()
        self.base = f"http://127.0.0.1:{self.port}"
        preset = os.path.join(work, "stub.toml")
        open(preset, "w").write(f"""
name = "stub"
title = "Stub"
protocol = "oauth"
[endpoints]
authorize = "http://127.0.0.1:{provider}/authorize"
token = "http://127.0.0.1:{provider}/token"
userinfo = "http://127.0.0.1:{provider}/user"
[scope]
identity = ["read"]
[token]
client_auth = "post"
refresh = "absent"
[identity]
source = "userinfo"
subject = "/id"
username = "/login"
""")
        self.config = os.path.join(work, "vestibule.toml")
        key = os.path.join(work, "key")
        if not os.path.exists(key):
            open(key, "w").write(base64.b64encode(secrets.token_bytes(32)).decode())
            os.chmod(key, 0o600)
        self.store = os.path.join(work, "store")
        open(self.config, "w").write(f"""
public_url = "{self.base}"
listen = "127.0.0.1:{self.port}"
secret_key = "file:{key}"
[store]
kind = "sled"
path = "{self.store}"
[upstream.stub]
provider_file = "{preset}"
client_id = "app"
client_secret = "file:{key}"
[[resource]]
path = "/mcp"
target = "http://127.0.0.1:{backend}/mcp"
upstream = "stub"
allow = "anyone"
[[resource]]
path = "/streams"
target = "http://127.0.0.1:{streams}/mcp"
upstream = "stub"
allow = "anyone"
[admin]
listen = "127.0.0.1:{self.admin}"
[limits]
requests_per_minute = 1000000
person_requests_per_minute = 0
client_requests_per_minute = 0
drain = "1s"
""")
        self.binary, self.log = binary, open(os.path.join(work, "vestibule.log"), "ab")
        self.process = None

    def start(self):
        """Seconds to the first answer."""
        self.process = subprocess.Popen(["taskset", "-c", SERVER_CORE, self.binary, "serve", "--config", self.config],
                                        stdout=self.log, stderr=self.log)
        return wait_for(self.port, "/.well-known/oauth-authorization-server", self.process)

    def pids(self):
        return [self.process.pid]

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(40)
            except subprocess.TimeoutExpired:
                self.process.kill()


def spread(values, digits=1):
    values = sorted(values)
    return f"{values[0]:.{digits}f} / {statistics.median(values):.{digits}f} / {values[-1]:.{digits}f}"


# --- the run -------------------------------------------------------------------------------------------------------

def interleaved(rows, rounds):
    """Each round runs every row once, beginning one further on; returns name → list of results."""
    names, results = list(rows), {name: [] for name in rows}
    for turn in range(rounds):
        for at in range(len(names)):
            name = names[(turn + at) % len(names)]
            row = rows[name]()
            if row["errors"]:
                print(f"  {name}: {row['errors']} errors, not counted", file=sys.stderr)
            else:
                results[name].append(row)
    return results


def table(results, base, unit_rate="req/s", us_digits=1):
    lines = [f"| | µs CPU, min / median / max | × {base} | {unit_rate} | p50 µs | p99 µs |", "|---|---|---|---|---|---|"]
    mid = {name: statistics.median(r["us"] for r in rows) for name, rows in results.items() if rows}
    for name, rows in results.items():
        if not rows:
            lines.append(f"| {name} | errors | | | | |")
            continue
        med = lambda key: statistics.median(r[key] for r in rows)
        lines.append(f"| {name} | {spread([r['us'] for r in rows], us_digits)} | {mid[name] / mid[base]:.2f} | "
                     f"{med('rate'):,.0f} | {med('p50'):.0f} | {med('p99'):.0f} |")
    return "\n".join(lines)


@contextlib.contextmanager
def bench(name, *more):
    """A folder of its own, and a list of what is to be stopped in the end, whatever the end is."""
    absent = [tool for tool in ("nginx", "wrk", "taskset", *more) if not shutil.which(tool)]
    if absent:
        raise SystemExit(f"missing: {', '.join(absent)} (Debian: apt install nginx-light wrk util-linux redis-server)")
    os.sched_setaffinity(0, {int(LOAD_CORE)})
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    work, running = tempfile.mkdtemp(prefix=f"vestibule-{name}-"), []
    os.chmod(work, 0o755)
    try:
        yield work, running
    finally:
        for process in running:
            process.stop()
        shutil.rmtree(work, ignore_errors=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", default="target/release/vestibule")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=4)
    parser.add_argument("--flows", type=int, default=300, help="logins one after another")
    parser.add_argument("--logins", type=int, default=3000, help="logins of each round, eight at a time")
    parser.add_argument("--held", type=int, default=2000)
    parser.add_argument("--write", help="put the result into this file")
    args = parser.parse_args()
    backend, streams, provider, through = free_port(), free_port(), free_port(), free_port()
    with bench("load") as (work, running):
        running.append(Nginx(work, "backend", LOAD_CORE, f"""
server {{ listen 127.0.0.1:{backend} backlog=4096; location / {{ default_type application/json; return 200 '{TOOLS}'; }} }}
{provider_conf(provider)}"""))
        running.append(Feeder(streams))
        # A proxy_set_header inside a location would drop the inherited ones, and nginx would redial for each request.
        plain = Nginx(work, "proxy", SERVER_CORE, f"""
upstream b {{ server 127.0.0.1:{backend}; keepalive 64; keepalive_requests 100000000; }}
upstream s {{ server 127.0.0.1:{streams}; keepalive 64; keepalive_requests 100000000; }}
server {{ listen 127.0.0.1:{through} backlog=4096;
  proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Authorization "Bearer {UPSTREAM_TOKEN}";
  location /mcp {{ proxy_pass http://b; }}
  location /streams {{ proxy_buffering off; proxy_read_timeout 1h; proxy_pass http://s; }} }}""")
        running.append(plain)
        wait_for(backend), wait_for(through, "/mcp")
        report = measure(args, work, Vestibule(os.path.abspath(args.binary), work, backend, streams, provider), plain,
                         through, running)
    print(report)
    if args.write:
        open(args.write, "w").write(report + "\n")


def measure(args, work, server, plain, through, running):
    starts = []
    running.append(server)
    for _ in range(7):
        starts.append(server.start() * 1e3)
        server.stop()
    server.start()
    time.sleep(2)
    idle = pss_kib(server.process.pid)

    browser = Browser(server.port)
    resource, streams = f"{server.base}/mcp", f"{server.base}/streams"
    client = register(browser)
    token = redeem(browser, client, *code_for(browser, client, resource), resource)
    stream_token = redeem(browser, client, *code_for(browser, client, streams), streams)

    def gated(**more):
        return measured(server.pids, lambda: wrk(work, resource, args.seconds, body=CALL,
                                                 headers={"Authorization": f"Bearer {token}"}, **more))

    def bare(**more):
        return measured(plain.pids, lambda: wrk(work, f"http://127.0.0.1:{through}/mcp", args.seconds, body=CALL,
                                                headers={"Authorization": f"Bearer {token}"}, **more))

    def burst(pids, url):
        row = measured(pids, lambda: wrk(work, url, args.seconds, connections=4, body=CALL,
                                         headers={"Authorization": f"Bearer {stream_token}"}))
        row["us"] /= EVENTS
        row["rate"] *= EVENTS
        return row

    gated(), bare()  # warm
    calls = interleaved({"nginx": bare, "vestibule": gated}, args.rounds)
    single = interleaved({"nginx": lambda: bare(connections=1), "vestibule": lambda: gated(connections=1)}, max(3, args.rounds // 2))
    bursts = interleaved({"nginx": lambda: burst(plain.pids, f"http://127.0.0.1:{through}/streams"),
                          "vestibule": lambda: burst(server.pids, streams)}, max(3, args.rounds // 2))

    ports = "local n = 0\nfunction request() n = n + 1\n  return wrk.format(nil, nil, nil, string.format(%s, 1024 + n %% 60000)) end" % json.dumps(
        json.dumps({"client_name": "load", "redirect_uris": ["http://127.0.0.1:PORT/callback"],
                    "token_endpoint_auth_method": "none", "grant_types": ["authorization_code", "refresh_token"],
                    "response_types": ["code"]}).replace("%", "%%").replace("PORT", "%d"))
    challenge = base64.urlsafe_b64encode(hashlib.sha256(b"x").digest()).rstrip(b"=").decode()
    oauth = interleaved({
        "register": lambda: measured(server.pids, lambda: wrk(work, f"{server.base}/register", args.seconds, vary=ports)),
        "authorize (consent page)": lambda: measured(server.pids, lambda: wrk(
            work, server.base + authorize_path(client, challenge, resource), args.seconds, method="GET",
            headers={"Sec-Fetch-Site": "none", "Accept": "text/html"})),
    }, max(3, args.rounds // 2))

    browser.ours.close()  # idle for longer than the server keeps it; the next request dials anew
    logins = flow.measure(sys.modules[__name__], work, server, browser, client, resource, args.logins, args.rounds)
    browser.ours.close()
    before = cpu_ns(server.pids())
    codes = [code_for(browser, client, resource) for _ in range(args.flows)]
    half = cpu_ns(server.pids())
    tokens = [redeem(browser, client, code, verifier, resource) for code, verifier in codes]
    flows = cpu_ns(server.pids())
    caller = http.client.HTTPConnection("127.0.0.1", server.port)
    for each in tokens:
        caller.request("POST", "/mcp", CALL, {"Authorization": f"Bearer {each}", "Content-Type": "application/json"})
        answer = caller.getresponse()
        assert answer.status == 200, answer.status
        answer.read()
    first = cpu_ns(server.pids())
    per = lambda a, b: (b - a) / 1e3 / args.flows

    loaded = pss_kib(server.process.pid)
    held = []
    ask = (f"GET /streams HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nAccept: text/event-stream\r\n"
           f"Authorization: Bearer {stream_token}\r\n\r\n").encode()
    for _ in range(args.held):
        s = socket.create_connection(("127.0.0.1", server.port))
        s.sendall(ask)
        held.append(s)
    for s in held:
        assert s.recv(12) == b"HTTP/1.1 200"
    time.sleep(1)
    holding = pss_kib(server.process.pid)
    for s in held:
        s.close()

    size = os.path.getsize(server.binary) / 2**20
    cpu = next((l.split(":")[1].strip() for l in open("/proc/cpuinfo") if l.startswith("model name")), "unknown CPU")
    return f"""# Benchmarks

`python3 benches/load/run.py` on {time.strftime('%Y-%m-%d')}; {cpu}, {os.cpu_count()} cores, Linux, loopback. Server pinned
to one core; wrk, stub MCP server and stub provider on another. All ratios are inside one interleaved run; absolute times
are orientation. µs = CPU of the server's process per request. {args.rounds} rounds of {args.seconds} s, order rotated.

## Gated `tools/list` against nginx `proxy_pass` (Authorization swapped, nothing checked)

16 keep-alive connections, token seen before, log level info, sled store. Goal: ≤ 1.3 × nginx.

{table(calls, 'nginx')}

One connection. Goal: p50 ≤ nginx + 15 µs.

{table(single, 'nginx')}

## {EVENTS} events inside one answer, per event

Goal: ≥ 0.5 × nginx's events/s.

{table(bursts, 'nginx', 'events/s', 3)}

## OAuth endpoints

{table(oauth, 'register')}

{flow.table(logins, args.logins)}

| one connection, one after another | µs CPU | goal |
|---|---|---|
| authorize + consent + callback, with one exchange and one userinfo at the provider | {per(before, half):.0f} | |
| code → token | {per(half, flows):.0f} | |
| whole flow | {per(before, flows):.0f} | |
| first call of a token | {per(flows, first):.0f} | |

Goals: register ≤ 17 µs, authorize ≤ 22 µs, code → token ≤ 50 µs.

## At rest

| | | goal |
|---|---|---|
| start to first answer, ms (min / median / max of {len(starts)}) | {spread(starts)} | 20 |
| idle memory, MiB PSS | {idle / 1024:.1f} | 10 |
| after all of the above, MiB PSS | {loaded / 1024:.1f} | |
| each of {args.held} held event streams, KiB PSS | {(holding - loaded) / args.held:.1f} | 20 |
| binary, MiB | {size:.1f} | 8 |"""


if __name__ == "__main__":
    main()
