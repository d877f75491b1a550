"""Hostile URLs: a list made by hand and a seeded grammar that combines its tricks. `{evil}` is the listener's host."""

import random

AUTHORITIES = (
    "{evil}", "api.twilio.com@{evil}", "{api}@{evil}", "user:pass@{evil}", "{evil}\\@{api}", "{api}\\@{evil}",
    "{api}#@{evil}", "{api}?@{evil}", "{evil}#{api}", "{api}.evil.example", "evil.example:443", "{api}.", "{evil}.",
    "api.twilio.com:80@{evil}", "{api}%2f@{evil}", "{api}%40{evil}", "{api}%00{evil}", "{api}\t@{evil}",
    "{api}\n@{evil}", "\u0430pi.twilio.com", "api.tw\u0131lio.com", "xn--pi-7lc.twilio.com", "api\u3002twilio\u3002com",
    "\uff11\uff12\uff17.0.0.2", "\u2460\u2461\u2466.0.0.2", "[::1]", "[::1%25lo]", "[fe80::1%25eth0]",
    "[::ffff:7f00:2]",
    "[::1", "127.2:80", "2130706434", "0x7f000002", "0177.0.0.2", "localhost", "evil.example", "{evil}:0",
    "{api}:65536",
    "{evil}:x", "", "*", "{api},{evil}", "{api} {evil}", "{api};{evil}", "169.254.169.254", "10.0.0.1",
)  # fmt: skip
SCHEMES = (
    "http://", "https://", "//", "///", "////", "\\\\", "/\\", "\\/", "http:", "https:/", "HTTP://", "hTtPs://",
    "ftp://",
    "file://", "javascript://", "data://", "gopher://", "ws://", "unix://", " http://", "\thttp://", "\nhttp://",
    "ht\ntp://", "http\t://", "http:\\\\", "\x00http://", "\ufeffhttp://", "http+unix://", "://",
)  # fmt: skip
TAILS = (
    "", "/", "{path}", "{path}?Page=1", "/..{path}", "/.{path}", "/%2e%2e{path}", "/..%2f{path}", "/%2f{path}",
    "{path}/../..",
    "{path}#x", "\r\nAuthorization: x", "?{path}", ";{path}", "\\..{path}", "{path}\u2028", "/a b", "/%0d%0aX:%20y",
)  # fmt: skip
BY_HAND = (
    "", " ", "/", "//", "///", "\\", ".", "..", "?", "#", "@", "@{evil}/", "@{evil}{path}", ":80{path}",
    ".{evil}{path}",
    "-{evil}{path}", "{path}", "{path}@{evil}", "{path}?a\nb", "{path}? ", "{path}?\x00", "{path}?\u00e9",
    "{path}%00?Page=1",
    "{path}/?Page=1", "{path}//?Page=1", "/{path}?Page=1", "{path};x?Page=1", "{path}#?Page=1", "{PATH}?Page=1",
    "/2010-04-01/Accounts/AC99999999999999999999999999999999/Recordings.json?Page=1",
    "/2010-04-01/Accounts.json?Page=1",
    "/2010-04-01/../../{evil}", "/redirect?to=http://{evil}/", "data:application/json,{}", "data:;base64,e30=",
    "file:///etc/passwd",
    "file://localhost/etc/passwd", "javascript:fetch('http://{evil}')", "about:blank", "mailto:a@{evil}",
    "jar:http://{evil}!/",
    "http://{evil}" + "/a" * 20_000, "http://" + "a" * 300 + ".example/", "http://" + "a." * 200 + "/", "\ud800",
    "http://\ud800/",
    "http://{evil}/{path}?" + "x" * 40_000, "null", "undefined", "None", "http://{evil}\u202e/", "h\u0442tp://{evil}/",
)  # fmt: skip


def hostile_urls(count: int, seed: int) -> list[str]:
    """`count` templates: those by hand, each trick alone, then combinations; the same for the same seed."""
    chance = random.Random(seed)
    found = [*BY_HAND, *(f"http://{one}{{path}}?Page=1" for one in AUTHORITIES)]
    found += [f"{scheme}{{evil}}{{path}}?Page=1" for scheme in SCHEMES]
    found += [f"http://{{evil}}{tail}" for tail in TAILS]
    found = list(dict.fromkeys(found))
    known = set(found)
    while len(found) < count:
        url = chance.choice(SCHEMES) + chance.choice(AUTHORITIES) + chance.choice(TAILS)
        if url not in known:
            known.add(url)
            found.append(url)
    return found if len(found) == count else chance.sample(found, count)


def filled(template: str, *, api: str, evil: str, path: str) -> str:
    """The URL itself."""
    return (
        template.replace("{api}", api).replace("{evil}", evil).replace("{path}", path).replace("{PATH}", path.upper())
    )
