#!/usr/bin/env python3
"""Whether a million logins slow anybody down, and what they weigh: each endpoint over a full store and over a nearly empty one.

    cargo build --release --example filled
    python3 benches/load/many.py [--grants 1000000] [--stores memory,sled,redis,postgres] [--rounds 3] [--write FILE]

Needs what run.py needs (Linux with two cores, nginx, wrk), and redis-server and PostgreSQL for their rows. Of each store two
servers stand at once, one over many Grants, one over few; they work in turn, so that whatever else the machine does meets
both. They have core 0, wrk, the provider and the stores' own servers core 1. The Grants that are asked for are spread evenly over
all that lie there, each refreshed once, as in life: what the many have in no cache is read from the disk. Numbers are
printed, never asserted. Shorter: --grants 100000 --rounds 2 --registrations 100000.
"""
import argparse, base64, http.client, json, os, re, secrets, shutil, statistics, subprocess, sys, time, urllib.parse

import flow, lasting, run, stores
from run import LOAD_CORE, REDIRECT, SERVER_CORE, Browser, Vestibule, cpu_ns, free_port, pss_kib, register, wait_for

LUA = """
local ffi = require("ffi")
ffi.cdef[[ typedef struct { long s; long ns; } moment; int clock_gettime(int, moment *); ]]
local function now()
  local at = ffi.new("moment")
  ffi.C.clock_gettime(1, at)
  return tonumber(at.s) * 1e6 + tonumber(at.ns) / 1e3
end
local begun
""" + flow.LUA.replace("sent = sent + 1", "sent = sent + 1\n  if sent > 0 then begun = begun or now() end").replace(
    'RESULT %%d 1 0 0 0\\n", seen)', 'RESULT %%d %%d\\n", seen, now() - begun)')
ENDPOINTS = ("register",) + flow.STEPS + ("refresh", "first call of a token", "gated call", "introspect", "revoke")
FORM = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}


class Filled(Vestibule):
    """`filled` over a store: the server of run.py, plus a backend that may introspect."""

    def __init__(self, binary, home, provider, store, lines, secret_key):
        os.makedirs(home)
        for name in ("key", "backend", "desk"):
            path = os.path.join(home, name)
            open(path, "w").write(secret_key if name == "key" else secrets.token_urlsafe(40))
            os.chmod(path, 0o600)
        super().__init__(binary, home, provider, provider, provider)
        self.home, self.kept = home, store
        text = open(self.config).read()
        text = re.sub(r'\[store\]\nkind = "sled"\npath = "[^"]*"', f"[store]\n{lines}", text)
        text = text.replace("requests_per_minute = 1000000", "requests_per_minute = 0", 1)
        text = text.replace("[admin]", f"""[[client]]
id = "backend"
name = "Backend"
secret = "file:{home}/backend"
auth_method = "client_secret_basic"
redirect_uris = ["https://backend.example/callback"]
[admin]
token = "file:{home}/desk\"""")
        open(self.config, "w").write(text)
        basic = "backend:" + urllib.parse.quote(open(os.path.join(home, "backend")).read())
        self.basic = {"Authorization": "Basic " + base64.b64encode(basic.encode()).decode()}

    def start(self, client, grants, sample):
        """Seconds that filling and opening took."""
        begun, tokens = time.perf_counter(), os.path.join(self.home, "tokens")
        self.process = subprocess.Popen(
            ["taskset", "-c", SERVER_CORE, self.binary, self.config, client, str(grants), str(sample), tokens],
            stdout=self.log, stderr=self.log)
        while self.process.poll() is None:
            try:
                connection = http.client.HTTPConnection("127.0.0.1", self.admin, timeout=1)
                connection.request("GET", "/readyz")
                if connection.getresponse().status == 200:
                    break
            except OSError:
                time.sleep(0.1)
        else:
            raise SystemExit(open(self.log.name).read()[-2000:])
        self.tokens = open(tokens).read().split()
        return time.perf_counter() - begun

    def records(self):
        """How many records lie in its store."""
        connection = http.client.HTTPConnection("127.0.0.1", self.admin, timeout=120)
        token = open(os.path.join(self.home, "desk")).read()
        connection.request("GET", "/api/v1/master-keys", headers={"Authorization": f"Bearer {token}"})
        answer = connection.getresponse()
        text = answer.read()
        assert answer.status == 200, text
        keys = json.loads(text)
        return sum(key["records"] for key in (keys["keys"] if isinstance(keys, dict) else keys))


def burst(server, name, method, headers, make, found, lines, connections=flow.CONNECTIONS):
    """Answers to as many requests as there are lines, and what one cost: CPU µs of the server, µs until its answer."""
    source, target = os.path.join(server.home, "lines"), os.path.join(server.home, "found")
    open(source, "w").write("".join(line + "\n" for line in lines))
    script = os.path.join(server.home, "burst.lua")
    head = "".join(f"wrk.headers[{json.dumps(k)}] = {json.dumps(v)}\n" for k, v in headers.items())
    open(script, "w").write(f"wrk.method = {json.dumps(method)}\n{head}" + LUA % {
        "source": json.dumps(source), "target": json.dumps(target), "make": make, "found": found})
    before = cpu_ns(server.pids())
    out = subprocess.run(["taskset", "-c", LOAD_CORE, "wrk", "-t1", f"-c{connections}", "-d600s", "-s", script, server.base + "/"],
                         capture_output=True, text=True)
    spent = cpu_ns(server.pids()) - before
    answers = open(target).read().splitlines() if os.path.exists(target) else []
    seen = re.search(r"RESULT (\d+) (\d+)", out.stdout)
    if not seen or len(answers) != len(lines):
        raise SystemExit(f"{name}: only {len(answers)} of {len(lines)} went well; {out.stdout[-500:]} {out.stderr[-500:]}")
    return answers, {"us": spent / 1e3 / len(lines), "wait": int(seen.group(2)) * connections / len(lines)}


def posted(path, fields, last):
    """A form whose last field is the line."""
    text = "".join(f"{name}={urllib.parse.quote(value)}&" for name, value in fields.items()) + last + "="
    return f"function(line) return wrk.format(nil, {json.dumps(path)}, nil, {json.dumps(text)} .. line) end"


def registered(server, count, prefix):
    body = json.dumps({"client_name": "NAME", "redirect_uris": [REDIRECT], "token_endpoint_auth_method": "none",
                       "grant_types": ["authorization_code", "refresh_token"], "response_types": ["code"]})
    before, after = body.split("NAME")
    make = f"function(line) return wrk.format(nil, '/register', nil, {json.dumps(before)} .. line .. {json.dumps(after)}) end"
    return burst(server, "register", "POST", {"Content-Type": "application/json"}, make,
                 "function(status) return status == 201 and 'x' end", [f"{prefix}-{n}" for n in range(count)])[1]


def logins(server, browser, client, count):
    """Step → cost, of whole logins."""
    lines, rows = ["x"] * count, {}
    for step, (method, headers, make, found) in flow.steps(run, server, browser, client, server.base + "/mcp").items():
        lines, rows[step] = burst(server, step, method, headers, make, found, lines)
    return rows


def one_round(server, browser, client, turn, count):
    """Endpoint → cost. The Grants that are refreshed, called, introspected and revoked are another share each time."""
    rows = {"register": registered(server, count, f"app {turn}")} | logins(server, browser, client, count)
    held = server.tokens[turn * count:(turn + 1) * count]
    refresh = posted("/token", {"grant_type": "refresh_token", "client_id": client}, "refresh_token")
    found = """function(status, headers, body)
  return status == 200 and body:match('"access_token":"([^"]+)"') .. ' ' .. body:match('"refresh_token":"([^"]+)"')
end"""
    answers, rows["refresh"] = burst(server, "refresh", "POST", FORM, refresh, found, held)
    access, fresh = zip(*(answer.split(" ") for answer in answers))
    fine = "function(status) return status == 200 and 'x' end"
    call = f"""function(line)
  local headers = {{ ["Content-Type"] = "application/json", ["Authorization"] = "Bearer " .. line }}
  return wrk.format(nil, "/mcp", headers, {json.dumps(run.CALL)})
end"""
    for name in ("first call of a token", "gated call"):
        rows[name] = burst(server, name, "POST", {}, call, fine, access)[1]
    active = """function(status, headers, body) return body:find('"active":true', 1, true) and 'x' end"""
    rows["introspect"] = burst(server, "introspect", "POST", FORM | server.basic,
                               posted("/introspect", {}, "token"), active, access)[1]
    rows["revoke"] = burst(server, "revoke", "POST", FORM, posted("/revoke", {"client_id": client}, "token"), fine, fresh)[1]
    return rows


def over(args, work, provider, kind, secret_key, running):
    """Of one store: endpoint → pairs of costs, few and many; and what else was seen."""
    sample, servers, seen = args.logins * (args.rounds + 1), {}, {}
    if kind == "postgres":
        store = stores.postgres(work)
        running.append(store)
        lines = {"few": store.table("few"), "many": store.table("many")}
        kept = {"few": store, "many": store}
        store.hurry(True)
    else:
        make = {"memory": stores.memory, "sled": stores.sled, "redis": stores.redis_everysec}[kind]
        kept = {name: make(work, f"{kind}-{name}") for name in ("few", "many")}
        running += kept.values()
        lines = {name: store.lines for name, store in kept.items()}
    for name, grants in (("few", sample), ("many", args.grants)):
        home = os.path.join(work, f"{kind}-{name}-server")
        servers[name] = Filled(os.path.abspath(args.binary), home, provider, kept[name], lines[name], secret_key)
        running.insert(0, servers[name])
        seen[f"{name} filled, s"] = servers[name].start(args.client, grants, sample)
        seen[f"{name} MiB"] = pss_kib(servers[name].process.pid) / 1024
    if kind == "postgres":
        store.hurry(False)
        store.say("VACUUM ANALYZE", "CHECKPOINT")
    browsers = {}
    for name, server in servers.items():
        browsers[name] = Browser(server.port)
        run.code_for(browsers[name], args.client, server.base + "/mcp")  # known from here on
        browsers[name].ours.close()
    pairs = {name: [] for name in ENDPOINTS}
    for turn in range(args.rounds + 1):
        order = ("few", "many") if turn % 2 else ("many", "few")
        rows = {name: one_round(servers[name], browsers[name], args.client, turn, args.logins) for name in order}
        if turn:  # the first round warms
            for name in ENDPOINTS:
                pairs[name].append((rows["few"][name], rows["many"][name]))
    if kind == "memory":
        few = servers["few"]
        before = pss_kib(few.process.pid)
        logins(few, browsers["few"], args.client, 10_000)
        seen["10,000 logins through the door, MiB"] = (pss_kib(few.process.pid) - before) / 1024
    if kind == "sled" and args.registrations:
        few = servers["few"]
        seen["registrations"] = (few.records(), few.kept.size(), pss_kib(few.process.pid) / 1024)
        registered(few, args.registrations, "million")
        time.sleep(1)
        seen["after registrations"] = (few.records(), few.kept.size(), pss_kib(few.process.pid) / 1024)
    for name, server in servers.items():
        seen[f"{name} end MiB"] = pss_kib(server.process.pid) / 1024
        server.stop()
        running.remove(server)
    for store in set(kept.values()):
        store.stop()
        running.remove(store)
        shutil.rmtree(store.folder or os.path.join(work, "none"), ignore_errors=True)
    return pairs, seen


def ratios(pairs, what):
    return sorted(many[what] / few[what] for few, many in pairs)


def table(kind, pairs):
    median = lambda values: statistics.median(values)
    lines = [f"| {kind} | few: µs CPU, µs waited | many: µs CPU, µs waited | × CPU, min / median / max | × waited, min / median / max |",
             "|---|---|---|---|---|"]
    for name, rows in pairs.items():
        cell = lambda at: ", ".join(f"{median([row[at][what] for row in rows]):,.0f}" for what in ("us", "wait"))
        spread = lambda what: " / ".join(f"{value:.2f}" for value in
                                         (ratios(rows, what)[0], median(ratios(rows, what)), ratios(rows, what)[-1]))
        lines.append(f"| {name} | {cell(0)} | {cell(1)} | {spread('us')} | {spread('wait')} |")
    return "\n".join(lines)


def report(args, results):
    parts = [f"""## A million logins

`python3 benches/load/many.py` on {time.strftime('%Y-%m-%d')}; {args.grants:,} Grants beside {args.logins * (args.rounds + 1):,}, {args.rounds} rounds in turn of
{args.logins:,} requests each, {flow.CONNECTIONS} at a time. Goal: no endpoint slower than 1.5 ×. µs waited: mean time until the answer."""]
    for kind, (pairs, seen) in results.items():
        parts.append(table(kind, pairs))
        parts.append(f"Filled in {seen['many filled, s']:.0f} s; PSS of the server {seen['few MiB']:.0f} and {seen['many MiB']:.0f} MiB at first, "
                     f"{seen['few end MiB']:.0f} and {seen['many end MiB']:.0f} MiB at the end.")
    if "memory" in results:
        seen = results["memory"][1]
        each = (seen["many MiB"] - seen["few MiB"]) / (args.grants - args.logins * (args.rounds + 1)) * 10_000
        parts.append(f"""| memory store | MiB per 10,000 | goal |
|---|---|---|
| Grants that lie there | {each:.1f} | 20 |
| logins through the door, with all that is remembered of them | {seen['10,000 logins through the door, MiB']:.1f} | 20 |""")
    if "sled" in results and "registrations" in results["sled"][1]:
        before, after = results["sled"][1]["registrations"], results["sled"][1]["after registrations"]
        parts.append(f"""| {args.registrations:,} registrations | before | after |
|---|---|---|
| records in the store | {before[0]:,} | {after[0]:,} |
| bytes on the disk | {before[1]:,} | {after[1]:,} |
| MiB PSS of the server | {before[2]:.1f} | {after[2]:.1f} |""")
    return "\n\n".join(parts)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", default="target/release/examples/filled")
    parser.add_argument("--grants", type=int, default=1_000_000)
    parser.add_argument("--stores", default="memory,sled,redis,postgres")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--logins", type=int, default=1500, help="requests to each endpoint in each round")
    parser.add_argument("--registrations", type=int, default=1_000_000)
    parser.add_argument("--write", help="append the result to this file")
    args = parser.parse_args()
    provider, results = free_port(), {}
    secret_key = base64.b64encode(secrets.token_bytes(32)).decode()
    with run.bench("many") as (work, running):
        running.append(lasting.stub_provider(work, provider))
        wait_for(provider)
        # One app for all: its id is sealed under the key that all servers here have.
        first = Filled(os.path.abspath(args.binary), os.path.join(work, "first"), provider, None, 'kind = "memory"', secret_key)
        running.insert(0, first)
        first.start("nobody", 1, 1)
        args.client = register(Browser(first.port))
        first.stop()
        running.remove(first)
        for kind in args.stores.split(","):
            print(f"{kind} …", file=sys.stderr)
            results[kind] = over(args, work, provider, kind, secret_key, running)
            print(table(kind, results[kind][0]), results[kind][1], file=sys.stderr)
    text = report(args, results)
    print(text)
    if args.write:
        open(args.write, "a").write("\n" + text + "\n")


if __name__ == "__main__":
    main()
