"""Signed URLs: public https only, checked by spelling here and by address when connecting."""

import ipaddress
import re

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from twilio.base.client_base import ClientBase
from yarl import URL

from pipelines.errors import FixConfiguration, SourceUntrusted
from pipelines.twilio.base_url import checked_base_url, confirmed_base_url, host_of, region_of, regional_url
from pipelines.twilio.storage_url import address_allowed, parse_networks, signed_url
from tests.pipelines.twilio.made_up import AC, SIGNATURE, SIGNED

HOSTS = [
    "127.0.0.1",
    "127.1",
    "127.0.1",
    "2130706433",
    "0x7f000001",
    "0x7f.1",
    "0X7F.0.0.1",
    "017700000001",
    "0177.0.0.1",
    "00000177.0.0.1",
    "127.0.0.01",
    "1.0x",
    "[::1]",
    "[0:0:0:0:0:0:0:1]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[::127.0.0.1]",
    "[64:ff9b::7f00:1]",
    "[64:ff9b::a9fe:a9fe]",
    "[2002:7f00:1::]",
    "[2001:0:7f00:1::]",
    "[fe80::1]",
    "[fe80::1%25eth0]",
    "[fc00::1]",
    "[fd00:ec2::254]",
    "[fec0::1]",
    "[ff02::1]",
    "[::]",
    "[2001:db8::1]",
    "[::ffff:169.254.169.254]",
    "169.254.169.254",
    "169.254.43518",
    "2852039166",
    "0xa9fea9fe",
    "0251.0376.0251.0376",
    "10.0.0.1",
    "172.16.0.1",
    "192.168.1.1",
    "100.64.0.1",
    "100.100.100.200",
    "168.63.129.16",
    "192.0.0.192",
    "192.0.2.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "0.0.0.0",
    "0",
    "127.0.0.1.",
    "bucket..example",
    "-.example",
    "%31%32%37.0.0.1",
    "\uff11\uff12\uff17.0.0.1",
    "\u2460\u2461\u2466.0.0.1",
    "127\u30020\u30020\u30021",
    "good.example@127.0.0.1",
    "user:pass@good.example",
    "good.example\\@127.0.0.1",
    "good.example:0",
    "good.example:99999",
    "good.example:x",
    "",
    "*",
    "a" * 64 + ".example",
]


@pytest.mark.parametrize("host", HOSTS)
def test_hosts_that_are_not_public_in_any_spelling_are_refused(host: str) -> None:
    """Decimal, hex, octal, short, mapped, embedded and look-alike spellings of addresses included."""
    with pytest.raises(SourceUntrusted) as caught:
        signed_url(f"https://{host}/key?{SIGNATURE}", loopback=False, subject="content of payload XH")
    assert SIGNATURE not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    "target",
    [
        "http://bucket.storage.example/key",
        "ftp://bucket.storage.example/key",
        "file:///etc/passwd",
        "//bucket.storage.example/key",
        "/relative",
        "",
        "https:bucket.storage.example",
        "https:///key",
        "https://bucket.storage.example/a b",
        "https://bucket.storage.example/a\r\nHost: x",
        "https://bucket.storage.example/a\x00",
        "https://bucket.storage.example/../x",
        "https://bucket.storage.example/a/%2e%2E/x",
        "https://[bucket.storage.example/",
    ],
)
def test_targets_other_than_plain_https_are_refused(target: str) -> None:
    """No other scheme, no relative target, no characters that a URL does not have."""
    with pytest.raises(SourceUntrusted):
        signed_url(target, loopback=False, subject="content")


@pytest.mark.parametrize(
    "target",
    [SIGNED, "https://8.8.8.8/x", "https://[2606:4700::1111]/x", "https://s3.amazonaws.com:443/b/k?a=b&c"],
)
def test_public_https_targets_are_accepted_unchanged_and_kept_out_of_the_repr(target: str) -> None:
    """The text is exact; its repr shows nothing."""
    accepted = signed_url(target, loopback=False, subject="content")
    assert accepted.text == target
    assert target not in repr(accepted)


@pytest.mark.parametrize("host", ["127.0.0.1:8080", "[::1]:8080", "localhost:8080", "8.8.8.8", "bucket.example"])
def test_a_source_on_this_machine_may_name_loopback_and_plain_http(host: str) -> None:
    """The sandbox serves contents from where it runs."""
    assert signed_url(f"http://{host}/x", loopback=True, subject="content").text == f"http://{host}/x"


@pytest.mark.parametrize("host", ["10.0.0.1", "169.254.169.254", "[fe80::1]", "0x7f000001", "0.0.0.0"])
def test_a_source_on_this_machine_may_not_name_the_network_around_it(host: str) -> None:
    """Loopback or public, nothing between, and only in plain spelling."""
    with pytest.raises(SourceUntrusted):
        signed_url(f"http://{host}/x", loopback=True, subject="content")


_URL_TEXT = st.text("abcXYZ019-._~%2F3d+!$&'()*,;=:@/?[]", max_size=60)


@given(_URL_TEXT, _URL_TEXT)
def test_an_accepted_url_reaches_the_wire_byte_for_byte(path: str, query: str) -> None:
    """Neither httpx nor yarl rewrites what was accepted: a signature covers every byte."""
    target = f"https://bucket.storage.example/{path}?{query}x"
    try:
        accepted = signed_url(target, loopback=False, subject="content")
    except SourceUntrusted:
        return
    sent = URL(str(httpx.URL(accepted.text)), encoded=True)
    assert sent.raw_path_qs == target.removeprefix("https://bucket.storage.example")


@given(st.ip_addresses())
def test_no_address_outside_the_public_internet_is_allowed(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    """Whatever `ipaddress` has a special name for is refused; loopback only when told."""
    if address_allowed(str(address), loopback=False):
        assert address.is_global
        assert not any((address.is_private, address.is_loopback, address.is_link_local, address.is_multicast))
    assert address_allowed(str(address), loopback=True) >= address.is_loopback


@pytest.mark.parametrize(
    "network", ["10.0.0.0/8", "fc00::/7", "169.254.0.0/16", "fe80::/10", "127.0.0.0/8", "2002::/16"]
)
def test_both_ends_of_a_refused_network_are_refused(network: str) -> None:
    """First and last address of the networks that matter most."""
    whole = ipaddress.ip_network(network)
    for address in (whole[0], whole[-1]):
        assert not address_allowed(str(address), loopback=False)


@pytest.mark.parametrize("text", ["", "localhost", "1", "127.1", "x.y"])
def test_what_is_not_an_address_is_not_allowed(text: str) -> None:
    """A resolver that answers nonsense is not believed."""
    assert not address_allowed(text, loopback=True)


@pytest.mark.parametrize(
    ("base_url", "loopback"),
    [
        ("https://api.twilio.com", False),
        ("https://api.twilio.com/", False),
        ("https://api.dublin.ie1.twilio.com:443", False),
        ("http://127.0.0.1:8080", True),
        ("http://localhost:8080/", True),
        ("http://[::1]:8080", True),
        ("https://localhost", True),
    ],
)
def test_base_urls_are_https_or_on_this_machine(base_url: str, loopback: bool) -> None:
    """The trailing slash is dropped, so that paths can be appended."""
    assert checked_base_url(base_url) == (base_url.rstrip("/"), loopback)


@pytest.mark.parametrize(
    "base_url",
    [
        "http://api.twilio.com",
        "http://localhost.evil.example",
        "http://127.0.0.1.evil.example",
        "http://10.0.0.1",
        "http://0x7f000001",
        "http://127.0.0.1@evil.example",
        f"https://{'s3cret'}:x@api.twilio.com",
        "https://api.twilio.com/v1",
        "https://api.twilio.com?x=1",
        "https://api.twilio.com#x",
        "https://api.twilio.com\n",
        "https://",
        "api.twilio.com",
        "ftp://api.twilio.com",
        "https://api.twilio.com:0",
        "https://api.twilio.com:99999",
        "",
    ],
)
def test_other_base_urls_are_a_configuration_to_fix(base_url: str) -> None:
    """Plain http elsewhere would show the credentials to everybody on the way."""
    with pytest.raises(FixConfiguration) as caught:
        checked_base_url(base_url)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("region", "edge", "url"),
    [
        ("", "", "https://api.twilio.com"),
        ("ie1", "dublin", "https://api.dublin.ie1.twilio.com"),
        ("au1", "", "https://api.sydney.au1.twilio.com"),
        ("", "frankfurt", "https://api.frankfurt.us1.twilio.com"),
        ("xx9", "", "https://api.xx9.twilio.com"),
    ],
)
def test_region_and_edge_name_the_host_as_twilios_libraries_do(region: str, edge: str, url: str) -> None:
    """As the `twilio` package of today, but for a region alone: newer ones, in other languages, know its own edge."""
    assert regional_url(region, edge) == url
    assert region_of(url) == (region or "us1")
    if (region, edge) != ("au1", ""):
        twilio = ClientBase(AC, "token", region=region or None, edge=edge or None, environment={"_": "_"})
        assert twilio.get_hostname("https://api.twilio.com") == url


@pytest.mark.parametrize("value", ["ie1.evil.example", "IE1", "ie1/", "-ie1", "a" * 64, "ie 1", "@evil"])
def test_a_region_or_edge_that_is_no_name_is_a_configuration_to_fix(value: str) -> None:
    """It becomes a part of the host that the credentials go to."""
    with pytest.raises(FixConfiguration, match="TWILIO_REGION"):
        regional_url(value, "")
    with pytest.raises(FixConfiguration, match="TWILIO_EDGE"):
        regional_url("ie1", value)


@pytest.mark.parametrize(
    "base_url",
    [
        "https://api.twilio.com",
        "https://API.twilio.com/",
        "https://api.twilio.com:443",
        "https://api.ie1.twilio.com",
        "https://api.dublin.ie1.twilio.com",
        "http://127.0.0.1:8080",
        "https://localhost",
    ],
)
def test_twilio_and_this_machine_need_no_confirmation(base_url: str) -> None:
    """There is nobody else behind these."""
    assert confirmed_base_url(base_url, "") == base_url


@pytest.mark.parametrize(
    ("base_url", "host"),
    [
        ("https://proxy.example", "proxy.example"),
        ("https://proxy.example:8443/", "proxy.example:8443"),
        ("https://api.twilio.com.evil.example", "api.twilio.com.evil.example"),
        ("https://evilapi.twilio.com", "evilapi.twilio.com"),
        ("https://api.twilio.com.", "api.twilio.com."),
        ("https://api.a.b.c.twilio.com", "api.a.b.c.twilio.com"),
        ("https://xapi-twilio.com", "xapi-twilio.com"),
        ("https://10.0.0.7", "10.0.0.7"),
        ("https://[2001:db8::1]:444", "[2001:db8::1]:444"),
    ],
)
def test_any_other_host_is_confirmed_by_its_name(base_url: str, host: str) -> None:
    """The credentials go there: neither a confirmation of another host nor `yes` will do."""
    assert host_of(base_url) == host
    for confirmed in ("", "yes", "api.twilio.com", "example"):
        with pytest.raises(FixConfiguration, match=f"TWILIO_BASE_URL_CONFIRMED={re.escape(host)}"):
            confirmed_base_url(base_url, confirmed)
    assert confirmed_base_url(base_url, host) == base_url


NAMED = parse_networks(
    " 10.0.0.0/8, 100.64.0.0/10,198.18.0.0/15 , fd12:3456::/48, 64:ff9b:1::/48, 169.0.0.0/8, fd00::/8, "
)


@pytest.mark.parametrize(
    ("address", "without", "named"),
    [
        ("64:ff9b::5db8:d822", True, True),  # NAT64 of 93.184.216.34
        ("64:ff9b::a01:203", False, True),
        ("64:ff9b:1::a01:203", False, True),
        ("10.1.2.3", False, True),
        ("100.64.0.7", False, True),
        ("198.18.5.5", False, True),
        ("fd12:3456::9", False, True),
        ("169.1.2.3", True, True),
        ("192.168.1.1", False, False),
        ("64:ff9b::c0a8:101", False, False),
        ("64:ff9b::a9fe:a9fe", False, False),
        ("64:ff9b:1::a9fe:a9fe", False, False),
        ("64:ff9b::7f00:1", False, False),
        ("169.254.169.254", False, False),
        ("100.100.100.200", False, False),
        ("fd00:ec2::254", False, False),
        ("fd20:ce::254", False, False),
        ("fe80::1", False, False),
        ("127.0.0.1", False, False),
        ("::1", False, False),
        ("0.0.0.0", False, False),
    ],
)
def test_an_address_is_allowed_when_it_is_public_or_in_a_network_that_was_named(
    address: str, without: bool, named: bool
) -> None:
    """One that stands for an IPv4 address is judged by that; this machine, its links and metadata never are."""
    assert address_allowed(address, loopback=False) is without
    assert address_allowed(address, loopback=False, networks=NAMED) is named


@pytest.mark.parametrize(
    "text", ["127.0.0.0/8", "169.254.0.0/16", "fe80::/64", "::1", "fd00:ec2::254", "10.0.0.0/99", "storage", "0.0.0.0"]
)
def test_a_network_that_is_none_or_never_holds_contents_cannot_be_named(text: str) -> None:
    """The sentence quotes it."""
    with pytest.raises(ValueError, match=text):
        parse_networks(f"10.0.0.0/8,{text}")


def test_a_refusal_names_the_setting() -> None:
    """Every guard has a safe way for those who are rightly behind it."""
    with pytest.raises(SourceUntrusted, match="EXPORT_STORAGE_NETWORKS"):
        signed_url("https://10.0.0.9/x?y", loopback=False, subject="content")
    assert signed_url("https://10.0.0.9/x?y", loopback=False, subject="content", networks=NAMED).text
