#!/usr/bin/env python3
"""What lasting logins cost: refreshes, and whole flows over each store that keeps them.

    cargo build --release && python3 benches/load/lasting.py [--rounds 5] [--seconds 4] [--redis] [--postgres] [--write FILE]

Needs what run.py needs (Linux with two cores, nginx, wrk), and redis-server and PostgreSQL for their rows. The server under test has
core 0 for itself; wrk, the stub provider (nginx) and the store's own server share core 1. "us" is CPU time of the
server's process per refresh, or per flow. Numbers are printed, never asserted; a row with an error does not count.
"""
import argparse, json, os, re, statistics, subprocess, time, urllib.parse

import run, stores
from run import LOAD_CORE, REDIRECT, Browser, Nginx, Vestibule, free_port, measured, register, spread, wait_for

FORM = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
CHALLENGE = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
VERIFIER = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
# As many as are at work at once.
CONNECTIONS = 16

# Tokens go round: what an answer brought is asked with next, by whichever connection is free. So no chain is ever asked
# twice at once, and each has a predecessor or two, as in life. Or each is used once, and that is all: an upstream
# token that has just been renewed is left alone for a while.
REFRESH = """
local tokens, is_once = { %s }, %s
local first, last = 1, #tokens
function request()
  local token = tokens[first]
  if token == nil then
    wrk.thread:stop()  -- the last one is asked again until it has
    token = tokens[first - 1]
  else
    first = first + 1
  end
  return wrk.format(nil, nil, nil, %s .. token)
end
function response(status, headers, body)
  if status ~= 200 or is_once then return end
  last = last + 1
  tokens[last] = body:match('"refresh_token":"([^"]+)"')
end
"""

# One login after another over one connection, as client and browser: consent page, consent, callback, token.
FLOW = """
local form = "application/x-www-form-urlencoded"
local step, cookies, at = 1, {}, nil
local function ask(method, path, body)
  local head = { ["Host"] = wrk.headers["Host"], ["Accept"] = "text/html", ["Sec-Fetch-Site"] = "same-origin" }
  if body then head["Content-Type"], head["Origin"] = form, %(origin)s end
  if step == 1 then head["Sec-Fetch-Site"] = "none" end
  local jar = {}
  for name, value in pairs(cookies) do jar[#jar + 1] = name .. "=" .. value end
  if #jar > 0 and step < 4 then head["Cookie"] = table.concat(jar, "; ") end
  return wrk.format(method, path, head, body)
end
local function part(text, name) return (text or ""):match("[?&]" .. name .. "=([^&]+)") end
function request()
  if step == 1 then return ask("GET", %(authorize)s) end
  if step == 2 then return ask("POST", "/consent", "decision=approve&request=" .. at) end
  if step == 3 then return ask("GET", %(callback)s .. "?code=c&state=" .. at) end
  return ask("POST", "/token", %(redeem)s .. at)
end
function response(status, headers, body)
  for name, value in pairs(headers) do
    if name:lower() == "set-cookie" then
      local k, v = value:match("^([^=]+)=([^;]*)")
      if v == "" or value:lower():find("max%%-age=0") then cookies[k] = nil else cookies[k] = v end
    end
  end
  local to = headers["location"] or headers["Location"]
  if step == 1 then at = body:match('name="request" value="([^"]+)"')
  elseif step == 2 then at = part(to, "state")
  elseif step == 3 then at = part(to, "code")
  else at = body:match('"access_token"') end
  if at then step = step %% 4 + 1 else step, cookies = 1, {}; at = nil end
  if step == 1 then cookies = {} end
end
"""


class Lasting(Vestibule):
    """The server of run.py over another store, with a second provider app whose tokens are always about to end."""

    def __init__(self, binary, work, provider, store):
        super().__init__(binary, work, provider, provider, provider)
        preset = open(os.path.join(work, "stub.toml")).read().replace("/token\"", "/token-short\"")
        short = os.path.join(work, "short.toml")
        open(short, "w").write(preset.replace('refresh = "absent"', 'refresh = "rotating"').replace('"stub"', '"short"'))
        text = open(self.config).read()
        text = re.sub(r'\[store\]\nkind = "sled"\npath = "[^"]*"', f"[store]\n{store.lines}", text)
        key = re.search(r'secret_key = "([^"]+)"', text).group(1)
        text = text.replace("[admin]", f"""[[resource]]
path = "/short"
target = "http://127.0.0.1:{provider}/mcp"
upstream = "short"
allow = "anyone"
[upstream.short]
provider_file = "{short}"
client_id = "app"
client_secret = "{key}"
[tokens]
# Who refreshes by the hour has one predecessor in its record. Here it is half a second, and this keeps it at one or two.
refresh_grace = "1s"
[admin]""")
        open(self.config, "w").write(text)


def stub_provider(work, port):
    """nginx agrees to everything, at a speed that Python does not reach."""
    says = lambda **more: json.dumps({"access_token": run.UPSTREAM_TOKEN, "token_type": "bearer", "scope": "read"} | more)
    return Nginx(work, "provider", LOAD_CORE, f"""
server {{ listen 127.0.0.1:{port} backlog=4096; default_type application/json;
  location = /token {{ return 200 '{says()}'; }}
  location = /token-short {{ return 200 '{says(expires_in=60, refresh_token="r")}'; }}
  location = /user {{ return 200 '{json.dumps({"id": 7, "login": "ann", "email": "ann@example.com"})}'; }}
  location / {{ return 200 '{run.TOOLS}'; }} }}""")


def wrk(work, name, url, seconds, script, connections=1, headers=None):
    """Starts wrk with this script; `rows` waits for it."""
    head = "".join(f"wrk.headers[{json.dumps(k)}] = {json.dumps(v)}\n" for k, v in (headers or {}).items())
    path = os.path.join(work, f"{name}.lua")
    open(path, "w").write(f"wrk.method = 'POST'\n{head}{script}" + """
function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format("RESULT %d %d %d %d %d\\n", summary.requests, summary.duration,
    e.connect + e.read + e.write + e.status + e.timeout, latency:percentile(50), latency:percentile(99)))
end""")
    return subprocess.Popen(["taskset", "-c", LOAD_CORE, "wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-s", path, url],
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def result(process):
    out, err = process.communicate()
    found = re.search(r"RESULT (\d+) (\d+) (\d+) (\d+) (\d+)", out)
    if not found:
        raise SystemExit(f"wrk failed: {out} {err}")
    n, us, errors, p50, p99 = map(int, found.groups())
    return {"n": n, "rate": n / (us / 1e6), "errors": errors, "p50": p50, "p99": p99}


def grants(server, path, count):
    """Refresh tokens of as many logins, and the client that holds them."""
    browser, resource, tokens = Browser(server.port), server.base + path, []
    client = register(browser)
    page = run.authorize_path(client, CHALLENGE, resource)
    for _ in range(count):
        status, headers, text = browser.ask("GET", page, headers={"Sec-Fetch-Site": "none"})
        if status == 200:
            sealed = re.search(r'name="request" value="([^"]+)"', text).group(1)
            status, headers, text = browser.ask("POST", "/consent", form={"request": sealed, "decision": "approve"})
        state = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(headers["Location"]).query))["state"]
        callback = "/callback/" + ("short" if path == "/short" else "stub")
        status, headers, text = browser.ask("GET", f"{callback}?{urllib.parse.urlencode({'code': 'c', 'state': state})}")
        code = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(headers["Location"]).query))["code"]
        status, _, text = browser.ask("POST", "/token", form={
            "grant_type": "authorization_code", "client_id": client, "code": code, "code_verifier": VERIFIER,
            "redirect_uri": REDIRECT, "resource": resource}, headers={"Accept": "application/json"})
        assert status == 200, (status, text)
        tokens.append(json.loads(text)["refresh_token"])
    browser.ours.close()
    return client, tokens


def refreshes(args, work, server, path, count, once=False):
    """One round: fresh logins, then nothing but refreshes. wrk asks for one request that it never sends."""
    client, tokens = grants(server, path, count + 1)
    body = urllib.parse.urlencode({"grant_type": "refresh_token", "client_id": client}) + "&refresh_token="
    script = REFRESH % (",".join(json.dumps(token) for token in tokens), json.dumps(once), json.dumps(body))
    return measured(server.pids, lambda: result(wrk(work, "refresh", server.base + "/token", args.seconds, script, CONNECTIONS, FORM)))


def flows(args, work, server):
    """Eight logins at a time; a row per flow, not per request."""
    client = register(Browser(server.port))
    resource = server.base + "/mcp"
    script = FLOW % {
        "origin": json.dumps(server.base),
        "authorize": json.dumps(run.authorize_path(client, CHALLENGE, resource)),
        "callback": json.dumps("/callback/stub"),
        "redeem": json.dumps(urllib.parse.urlencode({
            "grant_type": "authorization_code", "client_id": client, "code_verifier": VERIFIER,
            "redirect_uri": REDIRECT, "resource": resource}) + "&code="),
    }

    def all_eight():
        rows = [result(p) for p in [wrk(work, f"flow-{n}", server.base, args.seconds, script) for n in range(8)]]
        return {"n": sum(r["n"] for r in rows) / 4, "rate": sum(r["rate"] for r in rows) / 4,
                "errors": sum(r["errors"] for r in rows), "p50": statistics.median(r["p50"] for r in rows) * 4,
                "p99": max(r["p99"] for r in rows)}
    return measured(server.pids, all_eight)


def row(name, rows, goal=""):
    good = [r for r in rows if not r["errors"]]
    if not good:
        return f"| {name} | errors | | | {goal} |"
    med = lambda key: statistics.median(r[key] for r in good)
    return f"| {name} | {spread([r['us'] for r in good])} | {med('rate'):,.0f} | {med('p50'):,.0f} | {goal} |"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", default="target/release/vestibule")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=4)
    parser.add_argument("--logins", type=int, default=2000, help="that are refreshed in turn")
    parser.add_argument("--redis", action="store_true", help="also over private redis-servers")
    parser.add_argument("--postgres", action="store_true", help="also over a private PostgreSQL")
    parser.add_argument("--write", help="put the result into this file")
    args = parser.parse_args()
    provider, servers = free_port(), {}
    with run.bench("lasting", *(["redis-server"] if args.redis else [])) as (work, running):
        running.append(stub_provider(work, provider))
        wait_for(provider)
        kept = [stores.sled(work)]
        running += kept
        for make in ([stores.redis_everysec, stores.redis_always] if args.redis else []) + ([stores.postgres] if args.postgres else []):
            kept.append(make(work))
            running.append(kept[-1])
        for number, store in enumerate(kept):
            home = os.path.join(work, str(number))
            os.makedirs(home)
            servers[store.name] = Lasting(os.path.abspath(args.binary), home, provider, store)
            running.insert(0, servers[store.name])
            servers[store.name].start()
        report = measure(args, work, servers)
    print(report)
    if args.write:
        open(args.write, "a").write(report + "\n")


def measure(args, work, servers):
    sled_server = servers["sled"]
    few, many, renewed = [], [], []
    by_store = {name: [] for name in servers}
    names = list(servers)
    flows(args, work, sled_server)  # warm
    for turn in range(args.rounds):
        few.append(refreshes(args, work, sled_server, "/mcp", CONNECTIONS))
        many.append(refreshes(args, work, sled_server, "/mcp", args.logins))
        renewed.append(refreshes(args, work, sled_server, "/short", args.logins, once=True))
        for at in range(len(names)):
            name = names[(turn + at) % len(names)]
            by_store[name].append(flows(args, work, servers[name]))
    goals = lambda name: "330, 1,000 flows/s" if name == "sled" else ""
    lines = "\n".join(row(name, rows, goals(name)) for name, rows in by_store.items())
    return f"""
## Logins that last

`python3 benches/load/lasting.py` on {time.strftime('%Y-%m-%d')}; {args.rounds} rounds of {args.seconds} s, {CONNECTIONS} connections, every
rotation on disk (sled) before its answer; a grace of 1 s.

| refresh | µs CPU, min / median / max | refreshes/s | p50 µs | goal |
|---|---|---|---|---|
{row(f"{args.logins} logins in turn", many, "70")}
{row(f"{args.logins} logins in turn, each renewed at the provider first", renewed, "70")}
{row(f"{CONNECTIONS} logins without a pause: 32 predecessors within their grace", few)}

| whole flow, eight at a time | µs CPU, min / median / max | flows/s | p50 µs | goal |
|---|---|---|---|---|
{lines}

A flow is consent page, consent, callback (with exchange and userinfo at the provider) and token. Redis, and PostgreSQL
where given, share the second core with wrk and the provider."""


if __name__ == "__main__":
    main()
