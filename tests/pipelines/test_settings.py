"""Reading the configuration: defaults, per-subaccount credentials, and secrets that stay out of sight."""

from pathlib import Path

import pytest

from pipelines.errors import FixConfiguration
from pipelines.parsers import Setting
from pipelines.settings import (
    DeleteLimits,
    delete_limits,
    delete_schedule,
    delete_settings,
    environment,
    retention_days,
    settle_time,
    twilio_settings,
    warehouse_settings,
)
from pipelines.variables import SETTINGS

ACCOUNT, SUBACCOUNT = "AC" + "1" * 32, "AC" + "2" * 32
ENV = {"TWILIO_ACCOUNT_SID": ACCOUNT, "TWILIO_AUTH_TOKEN": "token-kept-secret"}


def test_three_variables_are_enough() -> None:
    """Everything else has a default."""
    settings = twilio_settings(ENV)
    assert (settings.login.username, settings.login.password) == (ACCOUNT, "token-kept-secret")
    assert (settings.base_url, settings.max_concurrency) == ("https://api.twilio.com", 400)
    assert settings.subaccounts == "none"
    assert warehouse_settings({}).destination == "duckdb"


def test_an_api_key_goes_before_the_auth_token() -> None:
    """With an API key the account's SID is still in the path, but not the user name."""
    settings = twilio_settings({**ENV, "TWILIO_API_KEY": "SK1", "TWILIO_API_SECRET": "secret-kept-secret"})
    assert (settings.account_sid, settings.login.username) == (ACCOUNT, "SK1")
    with pytest.raises(FixConfiguration, match="TWILIO_API_SECRET"):
        twilio_settings({**ENV, "TWILIO_API_KEY": "SK1"})


def test_a_subaccount_may_have_credentials_of_its_own() -> None:
    """Main-account API keys do not reach subaccounts."""
    env = {**ENV, "TWILIO_SUBACCOUNTS": f"{SUBACCOUNT}, ", f"TWILIO_AUTH_TOKEN_{SUBACCOUNT}": "other"}
    settings = twilio_settings(env)
    assert settings.subaccounts == (SUBACCOUNT,)
    assert settings.subaccount_logins[settings.subaccounts[0]].password == "other"


def test_no_secret_is_in_a_repr() -> None:
    """What is logged by accident must be harmless."""
    env = {**ENV, f"TWILIO_AUTH_TOKEN_{SUBACCOUNT}": "token-kept-secret"}
    assert "kept-secret" not in repr(twilio_settings(env))


def test_the_environment_goes_before_the_env_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`.env` fills in what is not set."""
    (tmp_path / ".env").write_text("TWILIO_ACCOUNT_SID=from-file\nEXPORT_SETTLE_HOURS=7\n")
    monkeypatch.setenv("TWILIO_ACCOUNT_SID", ACCOUNT)
    env = environment(tmp_path)
    assert env["TWILIO_ACCOUNT_SID"] == ACCOUNT
    assert settle_time(env).total_seconds() == 7 * 3600


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TWILIO_MAX_CONCURRENCY", "0"),
        ("TWILIO_MAX_CONCURRENCY", "many"),
        ("TWILIO_SUBACCOUNTS", "AC1,AC2"),
        ("TWILIO_ACCOUNT_SID", "SK" + "1" * 32),
    ],
)
def test_an_impossible_value_names_its_variable(name: str, value: str) -> None:
    """And not the value where it may be a secret in the wrong place."""
    with pytest.raises(FixConfiguration, match=name):
        twilio_settings({**ENV, name: value})


@pytest.mark.parametrize("value", ["some", "true", "*", "all,none", f"{ACCOUNT};{SUBACCOUNT}", ACCOUNT.lower(), "AC1"])
def test_an_odd_choice_of_subaccounts_is_told_what_is_allowed(value: str) -> None:
    """Words of any case are taken."""
    with pytest.raises(FixConfiguration, match="TWILIO_SUBACCOUNTS must be none, all, or Account SIDs with commas"):
        twilio_settings({**ENV, "TWILIO_SUBACCOUNTS": value})
    assert twilio_settings({**ENV, "TWILIO_SUBACCOUNTS": " ALL "}).subaccounts == "all"
    assert twilio_settings({**ENV, "TWILIO_SUBACCOUNTS": "None"}).subaccounts == "none"


def test_only_the_deleting_credential_deletes() -> None:
    """The export's does not stand in for it; key and secret are both needed; the secret is in no repr."""
    with pytest.raises(FixConfiguration, match="TWILIO_DELETE_API_KEY"):
        delete_settings(ENV)
    with pytest.raises(FixConfiguration, match="TWILIO_DELETE_API_SECRET"):
        delete_settings({**ENV, "TWILIO_DELETE_API_KEY": "SK1"})
    settings = delete_settings({"TWILIO_ACCOUNT_SID": ACCOUNT, "TWILIO_DELETE_API_KEY": "SK1", **SECRET})
    assert (settings.account_sid, settings.login.username) == (ACCOUNT, "SK1")
    suffixed = {"TWILIO_DELETE_API_KEY_SECRET": SECRET["TWILIO_DELETE_API_SECRET"]}  # the other way to read the name
    assert delete_settings({**ENV, "TWILIO_DELETE_API_KEY": "SK1", **suffixed}).login == settings.login
    assert SECRET["TWILIO_DELETE_API_SECRET"] not in repr(settings)
    assert twilio_settings({**ENV, "TWILIO_DELETE_API_KEY": "SK1", **SECRET}).login.username == ACCOUNT


SECRET = {"TWILIO_DELETE_API_SECRET": "delete-secret-kept-secret"}

SCHEDULE = {
    "EXPORT_DELETE_SCHEDULE": "0 4 * * *",
    "EXPORT_DELETE_MIN_AGE_HOURS": "96",
    "EXPORT_DELETE_MAX": "100",
    "EXPORT_DELETE_MAX_SHARE": "0.1",
}


def test_a_scheduled_deletion_needs_every_limit() -> None:
    """A schedule has no default limits; limits without a schedule are those of deletions by hand."""
    assert delete_schedule(ENV) is None
    schedule = delete_schedule(SCHEDULE)
    assert schedule is not None
    assert schedule.limits == DeleteLimits(96, 100, 0.1) == delete_limits(SCHEDULE)
    assert delete_limits(ENV) == DeleteLimits(72, 500, 0.2)
    assert delete_schedule({**SCHEDULE, "EXPORT_DELETE_SCHEDULE": ""}) is None
    for name in list(SCHEDULE)[1:]:
        with pytest.raises(FixConfiguration, match=name):
            delete_schedule({**SCHEDULE, name: ""})
    for wrong in ("1.1", "-0.1", "nan", "much"):
        with pytest.raises(FixConfiguration, match="EXPORT_DELETE_MAX_SHARE"):
            delete_schedule({**SCHEDULE, "EXPORT_DELETE_MAX_SHARE": wrong})


def test_add_ons_can_be_given_names() -> None:
    """SID=name, with commas between them; what is not that is said."""
    one, two = f"XB{1:032x}", f"XB{2:032x}"
    named = warehouse_settings({"TWILIO_ADDON_NAMES": f" {one}=IBM Watson, {two} = a=b ,"})
    assert named.add_on_names == {one: "IBM Watson", two: "a=b"}
    assert warehouse_settings({}).add_on_names == {}
    for wrong in ("Watson", f"{one}=", f"{one}", f"XE{1:032x}=installation", "XB12=short"):
        with pytest.raises(FixConfiguration, match="TWILIO_ADDON_NAMES"):
            warehouse_settings({"TWILIO_ADDON_NAMES": wrong})


def test_a_retention_shorter_than_twilios_own_is_refused() -> None:
    """A typing error must not erase what nobody else has; without a value nothing is erased."""
    assert retention_days({}) is None
    assert retention_days({"EXPORT_RETENTION_DAYS": "365"}) == 365
    for value in ("3", "29", "0", "-365", "1y"):
        with pytest.raises(FixConfiguration, match="EXPORT_RETENTION_DAYS"):
            retention_days({"EXPORT_RETENTION_DAYS": value})


def test_a_base_url_goes_before_region_and_edge_and_elsewhere_it_is_confirmed() -> None:
    """For the export and for the deletion alike: both send credentials."""
    deleting = {"TWILIO_DELETE_API_KEY": "SK1", "TWILIO_DELETE_API_SECRET": "s"}
    for read in (twilio_settings, delete_settings):
        env = {**ENV, **deleting, "TWILIO_REGION": "ie1"}
        assert read(env).base_url == "https://api.dublin.ie1.twilio.com"
        assert read({**env, "TWILIO_BASE_URL": "http://127.0.0.1:1"}).base_url == "http://127.0.0.1:1"
        with pytest.raises(FixConfiguration, match=r"TWILIO_BASE_URL names gateway\.example"):
            read({**env, "TWILIO_BASE_URL": "https://gateway.example"})
        said = {"TWILIO_BASE_URL": "https://gateway.example", "TWILIO_BASE_URL_CONFIRMED": "gateway.example"}
        assert read({**env, **said}).base_url == "https://gateway.example"


ALL = [setting for settings in SETTINGS.values() for setting in settings]


@pytest.mark.parametrize("setting", ALL, ids=lambda setting: setting.name)
def test_every_default_can_be_read_and_a_blank_is_none(setting: Setting[object]) -> None:
    """The page of settings shows it as what holds when nothing is set."""
    assert setting.of({setting.name: "  "}) == setting.of({}) == setting.of({setting.name: setting.default})


def test_no_variable_is_in_the_table_twice() -> None:
    """Two rules for one would differ one day."""
    assert len({setting.name for setting in ALL}) == len(ALL)
