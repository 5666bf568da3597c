"""What a driver file says of frames and of the conversation that cannot be done."""

from __future__ import annotations

from collections.abc import Callable

from labmon.config.errors import Path
from labmon.drivers.check_requests import check_send
from labmon.drivers.given import applies
from labmon.drivers.grammar import Escape
from labmon.drivers.session import acts
from labmon.drivers.setting import Setting
from labmon.drivers.template import TemplateError
from labmon.drivers.text_step import checksum_of, reply_starts, sendable

Report = Callable[..., None]


def check_wire(setting: Setting, report: Report) -> bool:
    """Report what is wrong with frame, session, selection and retries, for a device with these settings.

    Returns whether requests can be made with the frame.
    """
    file = setting.file
    sound = True

    def noted(path: Path, message: str, hint: str = "", *, at_key: bool = False) -> None:
        nonlocal sound
        sound = False
        report(path, message, hint, at_key=at_key)

    told = setting.framing in ("text", "binary")
    for key, given in (("frame", file.frame), ("session", file.session), ("select", file.select)):
        if given is not None and not told:
            noted((key,), f"belongs to framings text and binary, not to {setting.framing}", at_key=True)
    if file.frame is not None and told:
        _frame(setting, noted)
        if sound:
            _conversation(setting, noted)
    return sound


def _conversation(setting: Setting, report: Report) -> None:
    file = setting.file
    if file.select is not None:
        try:
            if not sendable(file.select, setting):
                raise ValueError("nothing is sent")
        except ValueError as error:
            report(("select",), str(error))
    if file.session is None:
        return
    for key in ("open", "wake", "close"):
        for index, action in enumerate(getattr(file.session, key)):
            path: Path = ("session", key, index)
            if action.send is None or not applies(action.when, setting.params):
                continue
            check_send(path, action.send, action.changes, setting, report)
            try:
                acts([action], setting)
            except TemplateError as error:
                report((*path, "reply"), str(error))
            except ValueError as error:
                report((*path, "send"), str(error))


def _frame(setting: Setting, report: Report) -> None:
    frame = setting.file.frame
    assert frame is not None
    literals: list[tuple[Path, object]] = [(("end",), frame.end), (("starts",), frame.starts)]
    literals += [(("reply-ends", n), end) for n, end in enumerate(frame.reply_ends or [])]
    literals += [(("reply-alone", n), one) for n, one in enumerate(frame.reply_alone)]
    literals += [(("checksum", n, "uncovered"), c.uncovered or None) for n, c in enumerate(frame.checksum)]
    for path, given in literals:
        try:
            setting.literal(given)
        except ValueError as error:
            report(("frame", *path), str(error))
            return
    try:
        starts = reply_starts(setting)
    except ValueError as error:
        report(("frame", "reply-starts"), str(error))
    else:
        for n, one in enumerate(frame.reply_alone):
            alone = setting.literal(one)
            if not alone or not starts or starts.startswith(alone) or alone.startswith(starts):
                report(
                    ("frame", "reply-alone", n),
                    "cannot be told from the beginning of another reply",
                    "give reply-starts, and begin the two differently",
                )
    for n, check in enumerate(frame.checksum):
        try:
            checksum_of(check, setting)
        except ValueError as error:
            report(("frame", "checksum", n), str(error))
    if any(isinstance(t, Escape) for t in frame.transforms) and (
        frame.reply_length is not None or frame.reply_size is not None
    ):
        report(
            ("frame", "transforms"),
            "what is stuffed has no fixed places: such a reply ends by reply-ends or reply-idle",
            at_key=True,
        )
    ways = (frame.reply_length, frame.reply_size, frame.reply_idle)
    if setting.framing == "text" and not any(ways) and not frame.end and not frame.reply_ends:
        report(
            ("frame",), "how does a reply end?", "give reply-ends, reply-length, reply-size or reply-idle", at_key=True
        )
