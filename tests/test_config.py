"""The configuration file: defaults, both spellings, and every fault with its place (SPEC head, A2-A7)."""

from pathlib import Path

import pytest

from sipcore.config import DeviceConfig, Secret, load_device, parse_device
from sipcore.errors import ConfigError

MINIMAL = """
[itsp.A]
ProxyServer = "sip.example.com"

[sp.1]
AuthUserName = "alice"
AuthPassword = "wonderland"
"""


def read(text: str, **environment: str) -> DeviceConfig:
    return parse_device(text, file="device.toml", environment=environment)


def fault(text: str, **environment: str) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        read(text, **environment)
    return caught.value


def test_defaults_are_those_of_the_rules():
    service = read(MINIMAL).service(1)
    assert service.is_configured
    assert service.user_agent_port == 5060
    assert service.profile.registration_period == 60
    assert service.profile.register_retry_interval == 30
    assert service.profile.dns_order == "a-first"
    assert service.profile.outbound is None
    assert service.profile.tls_verify
    assert not service.profile.udp_switch_to_tcp


def test_every_key_that_can_be_written_says_something():
    """SPEC C3, E3: none is read and left without effect."""
    service = read(
        MINIMAL.replace("[sp.1]", "X_UDPSwitchToTCP = true\n[sp.1]")
        + "X_AccessList = ['192.0.2.0/24', '2001:db8::1']\nX_AcceptSipFromRegistrarOnly = true\n"
    ).service(1)
    assert service.profile.udp_switch_to_tcp
    assert service.access_list == ("192.0.2.0/24", "2001:db8::1")
    assert service.accept_sip_from_registrar_only


def test_both_spellings_are_one_key():
    with_x = MINIMAL.replace('ProxyServer = "', 'X_OutboundProxy = "edge.example.net"\nX_ProxyServer = "')
    without = MINIMAL.replace('ProxyServer = "', 'OutboundProxy = "edge.example.net"\nProxyServer = "')
    assert read(with_x).profiles == read(without).profiles
    both = MINIMAL.replace("[sp.1]", "[sp.1]\nX_Enable = true\nEnable = false")
    assert (fault(both).key, fault(both).line) == ("sp.1.Enable", 7)


def test_spec_a2_each_service_has_its_own_default_port():
    text = MINIMAL + '\n[sp.3]\nX_ServProvProfile = "A"\nAuthUserName = "carol"\n'
    assert read(text).service(3).user_agent_port == 5062


@pytest.mark.parametrize(
    ("service_keys", "profile_keys", "why"),
    [
        ("Enable = false", 'ProxyServer = "a.net"', "Enable is false"),
        ("", "", "profile A has no ProxyServer"),
        ("", 'ProxyServer = "a.net"', "it has no AuthUserName and X_RegisterEnable is not false"),
        ("X_RegisterEnable = false", 'ProxyServer = "a.net"', ""),
        ('AuthUserName = "alice"', 'ProxyServer = "a.net"', ""),
    ],
)
def test_spec_a4_what_a_service_needs_to_run(service_keys: str, profile_keys: str, why: str):
    assert read(f"[itsp.A]\n{profile_keys}\n[sp.1]\n{service_keys}").service(1).not_configured_why == why


@pytest.mark.parametrize(
    ("uri", "domain", "expected"),
    [
        ("", "", "alice@sip.example.com"),
        ("", "users.example.com", "alice@users.example.com"),
        ("bob", "", "bob@sip.example.com"),
        ("bob", "users.example.com", "bob@users.example.com"),
        ("a@b.example", "users.example.com", "a@b.example"),
        ("sip:a@b.example", "", "a@b.example"),
        ("sips:bob", "", "bob@sip.example.com"),
    ],
)
def test_spec_a5_the_address_of_record(uri: str, domain: str, expected: str):
    text = MINIMAL.replace("[sp.1]", f'UserAgentDomain = "{domain}"\n[sp.1]\nURI = "{uri}"')
    service = read(text).service(1)
    assert service.address_of_record == expected
    assert service.auth_user_name == "alice"
    assert service.scheme == ("sips" if uri.startswith("sips") else "sip")


def test_spec_a6_services_share_a_profile_and_the_default_is_the_nth_letter():
    text = MINIMAL + '[sp.2]\nX_ServProvProfile = "A"\nAuthUserName = "b"\n[sp.3]\nAuthUserName = "c"\n'
    config = read(text)
    assert config.service(2).profile is config.service(1).profile
    assert config.service(3).profile.letter == "C"
    assert not config.service(3).is_configured


def test_spec_a7_an_empty_registrar_server_means_the_proxy_in_every_respect():
    text = MINIMAL.replace(
        "[sp.1]",
        'ProxyServerPort = 5070\nProxyServerTransport = "TCP"\n'
        'RegistrarServerPort = 5099\nRegistrarServerTransport = "TLS"\n[sp.1]',
    )
    profile = read(text).service(1).profile
    assert profile.registrar == profile.proxy
    assert (profile.registrar.port, profile.registrar.transport) == (5070, "tcp")


def test_spec_c3_the_outbound_transport_is_udp_whatever_the_proxys_is():
    text = MINIMAL.replace("[sp.1]", 'ProxyServerTransport = "TLS"\nOutboundProxy = "edge.example.net"\n[sp.1]')
    outbound = read(text).service(1).profile.outbound
    assert outbound is not None
    assert outbound.transport == "udp"


@pytest.mark.parametrize(
    ("line", "key", "part"),
    [
        ("ProxySever = 1", "itsp.A.ProxySever", "did you mean ProxyServer?"),
        ("RegistrationPeriode = 60", "itsp.A.RegistrationPeriode", "did you mean RegistrationPeriod?"),
        ('AuthUserName = "alice"', "itsp.A.AuthUserName", "belongs in [sp.N]"),
        ('ProxyServerPort = "5060"', "itsp.A.ProxyServerPort", "must be a number, not a string"),
        ("ProxyServerPort = 0", "itsp.A.ProxyServerPort", "from 1 to 65535"),
        ("ProxyServerPort = 65536", "itsp.A.ProxyServerPort", "from 1 to 65535"),
        ("ProxyServerPort = true", "itsp.A.ProxyServerPort", "must be a number, not a boolean"),
        ('OutboundProxy = "edge.example.net:5070"', "itsp.A.OutboundProxy", "host:port"),
        ('OutboundProxy = "[2001:db8::1]:5070"', "itsp.A.OutboundProxy", "host:port"),
        ('OutboundProxy = "sip:edge.example.net"', "itsp.A.OutboundProxy", "neither a host name nor an address"),
        ('OutboundProxy = "bad host"', "itsp.A.OutboundProxy", "neither a host name nor an address"),
        ('OutboundProxyTransport = "SCTP"', "itsp.A.OutboundProxyTransport", "one of udp, tcp, tls"),
        ('X_TLSVerify = "no"', "itsp.A.X_TLSVerify", "true or false"),
        ('X_DnsOrder = "dns"', "itsp.A.X_DnsOrder", "a-first, srv-first, rfc3263"),
        ("RegistrationPeriod = 0", "itsp.A.RegistrationPeriod", "from 1 to 86400 seconds"),
        ('X_RegisterRetryResponseCodes = "4xx|x"', "itsp.A.X_RegisterRetryResponseCodes", "'x' is neither"),
        ("X_SecondaryRegistration = true", "itsp.A.X_SecondaryRegistration", "X_ProxyServerRedundancy"),
        ("X_DnsServeStale = 3601", "itsp.A.X_DnsServeStale", "from 0 to 3600 seconds"),
    ],
)
def test_a_wrong_profile_key_is_named_with_its_line(line: str, key: str, part: str):
    error = fault(f'# first line\n[itsp.A]\n\n{line}\n[sp.1]\nAuthUserName = "alice"\n')
    assert (error.file, error.line, error.key) == ("device.toml", 4, key)
    assert part in error.reason
    assert str(error) == f"device.toml:4: {key}: {error.reason}"


@pytest.mark.parametrize(
    ("text", "line", "key", "part"),
    [
        ("[device]\nlocal_ip = 'no such thing'\n[sp.1]\n", 2, "device.local_ip", "interface name"),
        ("[device]\nname_servers = ['dns.example.net']\n[sp.1]\n", 2, "device.name_servers", "ADDRESS"),
        ("[device]\nname_servers = ['192.0.2.1:0']\n[sp.1]\n", 2, "device.name_servers", "from 1 to 65535"),
        ("[devise]\n[sp.1]\n", 1, "devise", "did you mean device?"),
        ("[sp.9]\n", 1, "sp.9", "only sp.1 to sp.8"),
        ("[itsp.I]\n[sp.1]\n", 1, "itsp.I", "only itsp.A to itsp.H"),
        ("[device]\n", 1, "sp", "nothing to run"),
        ("sp = 3\n", 1, "sp", "must be a table"),
        ("[sp]\n1 = 3\n", 2, "sp.1", "must be a table"),
        ("[sp.1]\nEnable = tru\n", 2, "TOML", "not TOML"),
        ("[sp.1]\nEnable = true\nEnable = true\n", 3, "TOML", "not TOML"),
        ("[sp.1]\nX_ServProvProfile = 'B'\n", 2, "sp.1.X_ServProvProfile", "no [itsp.B]"),
        ("[sp.1]\nX_UserAgentPorts = [1,2,3,4,5,6,7,8,9,10,11]\n", 2, "sp.1.X_UserAgentPorts", "at most 10"),
        ("[sp.1]\nX_UserAgentPorts = [5070, 5070]\n", 2, "sp.1.X_UserAgentPorts", "twice"),
        ("[sp.1]\n[sp.2]\nX_UserAgentPort = 5060\n", 3, "sp.2.X_UserAgentPort", "already used by SP1"),
        ("[sp.1]\nX_UserAgentPorts = [5070, 5061]\n[sp.2]\n", 3, "sp.2.UserAgentPort", "already used by SP1"),
        ("[sp.1]\n[sp.2]\nUserAgentPorts = '5070, 5060'\n", 3, "sp.2.UserAgentPorts", "already used by SP1"),
        ("[sp.1]\nAuthPassword = 'env:NO_SUCH'\n", 2, "sp.1.AuthPassword", "no variable NO_SUCH"),
        ("[sp.1]\nAuthPassword = 'file:no-such-file'\n", 2, "sp.1.AuthPassword", "cannot read no-such-file"),
        ("[sp.1]\nURI = 'a b'\n", 2, "sp.1.URI", "neither a user nor user@host"),
        ('[sp.1]\nAuthUserName = "a\\r\\nX: y"\n', 2, "sp.1.AuthUserName", "control characters"),
        ("[sp.1]\nX_AccessList = ['nowhere']\n", 2, "sp.1.X_AccessList", "neither an address nor a network"),
        ("[sp.1]\nX_KeepAliveMsgType = 'ping'\n", 2, "sp.1.X_KeepAliveMsgType", "keep-alive, empty, stun"),
    ],
)
def test_a_wrong_file_is_named_with_its_line(text: str, line: int, key: str, part: str):
    error = fault(text)
    assert (error.line, error.key) == (line, key)
    assert part in error.reason


def test_a_disabled_service_takes_no_port():
    text = "[sp.1]\n[sp.2]\nX_UserAgentPort = 5060\nEnable = false\n"
    assert len(read(text).services) == 2


def test_lines_inside_long_strings_are_not_mistaken_for_keys():
    text = "[sp.1]\nURI = '''\\\n[sp.2]\nEnable = 3'''\nEnable = 7\n"
    with pytest.raises(ConfigError) as caught:
        read(text)
    assert caught.value.key in ("sp.1.URI", "sp.1.Enable")
    assert caught.value.line in (2, 5)


def test_a_secret_comes_from_the_environment_or_a_file_and_is_never_shown(tmp_path: Path):
    (tmp_path / "password").write_text("from-a-file\n")
    path = tmp_path / "device.toml"
    path.write_text(MINIMAL.replace('"wonderland"', '"file:password"'))
    config = load_device(path)
    assert config.service(1).auth_password.reveal() == "from-a-file"
    shown = repr(config) + "".join(config.describe()) + str(config.service(1).auth_password)
    assert "from-a-file" not in shown
    assert read(MINIMAL.replace('"wonderland"', '"env:PW"'), PW="secret").service(1).auth_password.reveal() == "secret"


def test_a_fault_beside_a_secret_does_not_show_it():
    error = fault(MINIMAL.replace('"wonderland"', '"won\\u0000derland"'))
    assert "derland" not in str(error)


def test_secrets_compare_by_value_and_know_whether_they_are_empty():
    assert Secret("a") == Secret("a") != Secret("b")
    assert not Secret("")


def test_a_file_that_is_not_there_is_named():
    with pytest.raises(ConfigError, match=r"no-such\.toml:0: file: cannot be read"):
        load_device("no-such.toml")


def test_a_file_that_is_not_text_is_named(tmp_path: Path):
    path = tmp_path / "device.toml"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="not UTF-8"):
        load_device(path)


def test_spec_d3_and_c10_describe_warns_of_tls_without_port_and_without_verification():
    text = MINIMAL.replace(
        "[sp.1]", 'OutboundProxy = "edge.example.net"\nOutboundProxyTransport = "TLS"\nX_TLSVerify = false\n[sp.1]'
    )
    lines = read(text + '[sp.2]\nAuthUserName = "bob"\n').describe()
    assert lines[0] == (
        "SP1: sip:alice@sip.example.com on local port 5060, registers, through edge.example.net over TLS,"
        " names by a-first"
    )
    assert "TLS without a configured port uses 5060" in lines[1]
    assert "X_TLSVerify is false" in lines[2]
    assert lines[3] == "SP2: Service Not Configured: profile B has no ProxyServer"


def test_spec_b12_redundancy_with_a_literal_address_is_told():
    text = MINIMAL.replace("sip.example.com", "192.0.2.7").replace("[sp.1]", "X_ProxyServerRedundancy = true\n[sp.1]")
    assert "192.0.2.7 is an address" in "\n".join(read(text).describe())


@pytest.mark.parametrize("address", ["2001:db8::1", "[2001:db8::1]"])
def test_an_ipv6_server_may_stand_in_brackets(address: str):
    profile = read(MINIMAL.replace("sip.example.com", address)).profiles[0]
    assert profile.proxy_server == "2001:db8::1"


def test_name_servers_have_port_53_unless_they_say():
    text = '[device]\nname_servers = ["192.0.2.53", "192.0.2.54:5353", "2001:db8::53", "[2001:db8::54]:5354"]\n[sp.1]\n'
    assert read(text).device.name_servers == (
        ("192.0.2.53", 53),
        ("192.0.2.54", 5353),
        ("2001:db8::53", 53),
        ("2001:db8::54", 5354),
    )
