"""What a site file may say (format version 1). The reference is `config/example-site.yaml`, which is tested."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from labmon.config.types import Date, Duration, Host, Id, Number, Period, Port, Secret, Size, Strict, Text, Url

Grade = Literal["A", "B", "C", "D", "CNC", "none"]
AreaState = Literal["at-rest", "in-operation", "maintenance"]
Role = Literal["viewer", "operator", "engineer", "qa"]
AlarmClassName = Literal["action", "alert", "technical"]
Framing = Literal["modbus-rtu", "modbus-ascii", "modbus-tcp", "text", "binary"]


ENDPOINT = "give exactly one of serial and tcp"
STORE = "give exactly one of influxdb and sqlite"
JOURNAL_LEAST = 20 * 10**6
NOTICE_CHANNEL = "give exactly one of email and webhook"


class SiteHead(Strict):
    """Which site, and the zone in which people there read times."""

    id: Id
    name: Text
    timezone: str = "UTC"


class ClockConfig(Strict):
    """For a gateway whose clock is kept right by something that does not tell the kernel."""

    trusted: Text
    """The reason why its times are right; it is recorded with the site file."""


class GatewayHead(Strict):
    """Which gateway of the site this file configures."""

    id: Id
    name: Text | None = None
    clock: ClockConfig | None = None
    """Left out: the kernel is asked whether the clock is synchronised."""


class AreaConfig(Strict):
    """An area with its GMP grade and state."""

    id: Id
    name: Text
    grade: Grade = "none"
    state: AreaState = "in-operation"


class Limit(Strict):
    """One class of limit in a profile: high, low or both, with dead-band and delays."""

    level: Literal["alert", "action"]
    high: Number | None = None
    low: Number | None = None
    dead_band: Annotated[Number, Field(ge=0)] = 0.0
    on_delay: Duration = 0.0
    off_delay: Duration = 0.0


class Profile(Strict):
    """Limits and delays with one reason and one version; channels refer to it by name."""

    version: Annotated[int, Field(ge=1)]
    reason: Text
    source: Text | None = None
    """Where the figures come from: a clause of a regulation, or a proposal that the site has to approve."""
    unit: str
    grade: Grade | None = None
    """Grade and state of the areas that the limits are for, where they are for no others."""
    state: AreaState | None = None
    limits: list[Limit] = []
    silence: Period | None = None
    """Technical alarm when no reading with a value arrived for so long; default three times the interval."""
    bad_quality: Period | None = None
    """Technical alarm when readings stay bad for so long; default as `silence`."""


class ProfileFile(Strict):
    """A file of profiles, in a site's profile folder or shipped."""

    labmon: Literal[1]
    profiles: dict[Id, Profile]


class Calibration(Strict):
    """value = reported * gain + offset, in the channel's unit, from a certificate."""

    offset: Number = 0.0
    gain: Annotated[Number, Field(gt=0)] = 1.0
    certificate: Text
    date: Date
    due: Date | None = None


class ChannelConfig(Strict):
    """One channel of a device that this site records."""

    id: Id
    from_: str | None = None
    """The driver's channel; the same id when left out."""
    name: Text | None = None
    place: str = ""
    unit: str | None = None
    limits: str | None = None
    """Name of a profile."""
    calibration: Calibration | None = None
    instruction: str = ""


class DeviceConfig(Strict):
    """One instrument on a line."""

    id: Id
    name: Text
    driver: str
    area: Id
    asset: str = ""
    address: int | str | None = None
    """Modbus unit id, or what the driver calls an address."""
    params: dict[str, Any] = {}
    every: dict[str, Period] = {}
    """Interval per query name where it shall differ from the driver's."""
    timeout: Period | None = None
    set_clock: bool = False
    """Whether labmon sets the instrument's clock when it is off; needs a driver that knows how."""
    instruction: str = ""
    channels: list[ChannelConfig] | None = None
    """Left out: every channel of the driver, under its own id."""


class SerialConfig(Strict):
    """A serial port. Settings left out come from the driver."""

    port: str
    baud: Annotated[int, Field(ge=50, le=4_000_000)] | None = None
    bits: Literal[7, 8] | None = None
    parity: Literal["N", "E", "O"] | None = None
    stop: Literal[1, 2] | None = None
    rtscts: bool | None = None
    local_echo: bool = False


class TcpConfig(Strict):
    """A TCP endpoint; one line however many unit ids stand behind it."""

    host: Host
    port: Port = 502


class LineConfig(Strict):
    """One physical conversation with the devices on it."""

    id: Id
    name: Text | None = None
    serial: SerialConfig | None = None
    tcp: TcpConfig | None = None
    framing: Framing | None = None
    """Left out: the driver's first for this kind of line."""
    quiet: Duration | None = None
    """Silence kept before each request, where it shall be longer than the protocol's own."""
    devices: list[DeviceConfig]

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.serial is None) == (self.tcp is None):
            raise ValueError(ENDPOINT)
        return self


class User(Strict):
    """A person who may give commands. `pin` is a hash made by `labmon user pin`."""

    id: Id
    name: Text
    role: Role
    pin: Secret | None = None
    system_user: str | None = None
    """Login name on the gateway; names this user on the local socket."""


class TlsConfig(Strict):
    """TLS towards the broker; the system's authorities when `ca` is left out."""

    ca: str | None = None
    certificate: str | None = None
    key: Secret | None = None
    ingest_certificate: str | None = None
    """What `labmon ingest` shows instead: where the broker takes the name in it for the user, it must be its own."""
    ingest_key: Secret | None = None


class MqttConfig(Strict):
    """The broker."""

    host: Host
    port: Port = 1883
    tls: TlsConfig | None = None
    user: str | None = None
    password: Secret | None = None
    ingest_user: str | None = None
    """Credentials of `labmon ingest` where they differ (they should)."""
    ingest_password: Secret | None = None
    watch_user: str | None = None
    """Credentials of `labmon watch` where they differ (they should)."""
    watch_password: Secret | None = None
    protocol: Literal["5", "3.1.1"] = "5"
    """3.1.1 is for the embedded demonstration broker only."""
    keepalive: Period = 30.0
    status_every: Period = 30.0
    """How often the gateway says that it is there."""


class InfluxConfig(Strict):
    """InfluxDB 2.x or 3.x by /api/v2/write, or what speaks the same."""

    url: Url
    org: str = "-"
    bucket: str
    token: Secret
    timeout: Period = 10.0


class SqliteConfig(Strict):
    """A local SQLite store: the demonstration's, and a laboratory's without a database."""

    path: str


class StoreConfig(Strict):
    """Where ingest writes. Its id names the cursor that its confirmations move."""

    id: Id
    influxdb: InfluxConfig | None = None
    sqlite: SqliteConfig | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.influxdb is None) == (self.sqlite is None):
            raise ValueError(STORE)
        return self


class EmailChannel(Strict):
    """A mail server."""

    host: Host
    port: Port = 25
    tls: Literal["none", "starttls", "tls"] = "starttls"
    ca: str | None = None
    from_: str
    user: str | None = None
    password: Secret | None = None
    timeout: Period = 20.0


class WebhookChannel(Strict):
    """An HTTP endpoint that takes a JSON POST, signed with HMAC-SHA256 where a secret is given."""

    url: Url
    secret: Secret | None = None
    ca: str | None = None
    timeout: Period = 20.0


class NoticeChannel(Strict):
    """One way by which notices go out."""

    id: Id
    email: EmailChannel | None = None
    webhook: WebhookChannel | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.email is None) == (self.webhook is None):
            raise ValueError(NOTICE_CHANNEL)
        return self


class Person(Strict):
    """A person, or a role's shared mailbox, that notices go to."""

    id: Id
    name: Text
    email: str | None = None


class Route(Strict):
    """Which notices go to whom, and how."""

    classes: list[AlarmClassName]
    areas: list[Id] | None = None
    to: list[Id]
    by: list[Id]


class NoticesConfig(Strict):
    """Notice channels, people and routes."""

    channels: list[NoticeChannel] = []
    people: list[Person] = []
    routes: list[Route] = []
    acknowledge: str = "labmon alarm ack {alarm} --occurrence {occurrence} --reason '...'"
    """How an alarm is acknowledged, as told in each notice."""


def _journal_size(value: int) -> int:
    if value < JOURNAL_LEAST:
        raise ValueError(f"must be at least {JOURNAL_LEAST // 10**6} MB: the write-ahead log alone takes some")
    return value


class JournalConfig(Strict):
    """The durable log. Readings are kept by age and size; alarms, events and configuration are not deleted."""

    path: str = "/var/lib/labmon/journal.db"
    keep_readings: Period = 90 * 86400.0
    size: Annotated[Size, AfterValidator(_journal_size)] = 4 * 10**9
    """Of all files of the journal together."""
    commit_every: Period = 1.0


class PingConfig(Strict):
    """An address that `labmon watch` calls by GET while it and its gateways are well; others watch whether it does."""

    url: Secret
    """Whoever has it can call it, so it is a secret."""
    every: Period = 60.0
    ca: str | None = None
    timeout: Period = 10.0


class WatchConfig(Strict):
    """`labmon watch`: who is told, elsewhere, that a gateway or ingest is silent."""

    gateways: list[Id] | None = None
    """Left out: the gateway of this file."""
    silent_after: Period = 120.0
    """Nothing was heard for so long, of a gateway or of the broker."""
    offline_after: Period = 30.0
    """A gateway that is said to be gone may come back within this, and one that is back must stay for as long."""
    ingest_after: Period = 300.0
    """A store with a backlog confirmed nothing for so long."""
    path: str = "/var/lib/labmon-watch/journal.db"
    """What the watch remembers of its alarms and notices."""
    ping: PingConfig | None = None


class Site(Strict):
    """A whole site file."""

    labmon: Literal[1]
    site: SiteHead
    gateway: GatewayHead
    drivers: list[str] = []
    """Folders of the site's own driver files, searched before the shipped ones; relative to the site file."""
    profile_folders: list[str] = []
    areas: list[AreaConfig]
    profiles: dict[Id, Profile] = {}
    lines: list[LineConfig]
    users: list[User] = []
    mqtt: MqttConfig | None = None
    stores: list[StoreConfig] = []
    notices: NoticesConfig = NoticesConfig()
    journal: JournalConfig = JournalConfig()
    watch: WatchConfig = WatchConfig()
    socket: str = "/run/labmon/control.sock"
