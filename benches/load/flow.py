"""Whole logins, many at once: the four requests of a login as four bursts of wrk, each fed by what the one before found.

Eight logins are under way at any time, as eight people would cause, and the CPU of each request is told apart. Each round
begins with a burst that does not count: a server's first requests find cold caches and are no measure of the rest.
"""
import base64, hashlib, json, os, secrets, statistics, urllib.parse

CONNECTIONS = 8
STEPS = ("authorize (consent page)", "consent", "callback", "code → token")
GOALS = {"authorize (consent page)": 22, "code → token": 50}
WHOLE_GOAL = 330

# `make` turns a line of the input into a request, `found` an answer into a line for the next step (nil: a failure). wrk
# would sleep through its whole time, so the script reports and leaves by itself once all is answered. A connection for
# which no line is left waits; wrk makes its very first request for a look only.
LUA = """
local lines, out, granted, sent, seen = {}, nil, 0, -1, 0
function init()
  for line in io.lines(%(source)s) do lines[#lines + 1] = line end
  out = io.open(%(target)s, "w")
end
local make = %(make)s
local found = %(found)s
function delay()
  granted = granted + 1
  return granted <= #lines and 0 or 60000
end
function request()
  sent = sent + 1
  return make(lines[math.max(sent, 1)])
end
function response(status, headers, body)
  seen = seen + 1
  local line = found(status, headers, body)
  if line then out:write(line, "\\n") end
  if seen == #lines then
    out:close()
    io.write(string.format("RESULT %%d 1 0 0 0\\n", seen))
    os.exit(0)
  end
end
"""


def measure(run, work, server, browser, client, resource, count, rounds):
    """Step → CPU µs of each round."""
    run.code_for(browser, client, resource)  # the browser is known from here on
    results = {step: [] for step in STEPS}
    for turn in range(rounds):
        burst(run, work, server, browser, client, resource, 200)
        for step, us in burst(run, work, server, browser, client, resource, count).items():
            results[step].append(us)
    return results


def steps(run, server, browser, client, resource):
    """Step → method, headers, and the two halves of its script."""
    verifier = secrets.token_urlsafe(40)
    challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
    cookie = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
    person = {"Cookie": cookie, "Accept": "text/html", "Sec-Fetch-Site": "same-origin"}
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    token = urllib.parse.urlencode({"grant_type": "authorization_code", "client_id": client, "code_verifier": verifier,
                                    "redirect_uri": run.REDIRECT, "resource": resource})
    return {
        STEPS[0]: ("GET", person, f"function() return wrk.format(nil, {json.dumps(run.authorize_path(client, challenge, resource))}) end",
                   """function(status, headers, body) return body:match('name="request" value="([^"]*)"') end"""),
        STEPS[1]: ("POST", person | form | {"Origin": server.base},
                   "function(line) return wrk.format(nil, '/consent', nil, 'decision=approve&request=' .. line) end",
                   """function(status, headers)
  local location, cookie = headers['location'] or '', headers['set-cookie'] or ''
  local state, login = location:match('[?&]state=([^&]*)'), cookie:match('^([^;]*)')
  return state and login and state .. ' ' .. login
end"""),
        STEPS[2]: ("GET", person, """function(line)
  local state, login = line:match('^(%S+) (.*)$')
  local headers = {}
  for name, value in pairs(wrk.headers) do headers[name] = value end
  headers['Cookie'] = headers['Cookie'] .. '; ' .. login
  return wrk.format(nil, '/callback/stub?code=upstream&state=' .. state, headers)
end""", "function(status, headers) return (headers['location'] or ''):match('[?&]code=([^&]*)') end"),
        STEPS[3]: ("POST", form, f"function(line) return wrk.format(nil, '/token', nil, {json.dumps(token)} .. '&code=' .. line) end",
                   "function(status, headers, body) return status == 200 and 'done' end"),
    }


def burst(run, work, server, browser, client, resource, count):
    """Step → CPU µs per request, of `count` logins."""
    source, spent = os.path.join(work, "begin"), {}
    open(source, "w").write("x\n" * count)
    for at, (step, (method, headers, make, found)) in enumerate(steps(run, server, browser, client, resource).items()):
        target = os.path.join(work, f"step{at}")
        lua = LUA % {"source": json.dumps(source), "target": json.dumps(target), "make": make, "found": found}
        row = run.measured(server.pids, lambda: run.wrk(work, server.base + "/", 30, connections=CONNECTIONS, method=method,
                                                        headers=headers, vary=lua))
        succeeded = sum(1 for _ in open(target))
        if succeeded != count:
            raise SystemExit(f"{step}: only {succeeded} of {count} went well")
        spent[step], source = row["us"], target
    return spent


def table(results, count):
    """The rows of the report."""
    lines = [f"| {count} logins, {CONNECTIONS} at a time, each swap on disk before its answer | µs CPU, min / median / max | goal |",
             "|---|---|---|"]
    row = lambda name, values, goal: lines.append(
        f"| {name} | {min(values):.1f} / {statistics.median(values):.1f} / {max(values):.1f} | {goal} |")
    for step, values in results.items():
        row(step, values, GOALS.get(step, ""))
    row("whole flow", [sum(values) for values in zip(*results.values())], WHOLE_GOAL)
    return "\n".join(lines)
