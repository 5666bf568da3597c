"""How the journal can fail, and what each failure asks of the caller."""

from __future__ import annotations


class JournalError(Exception):
    """Something about the journal file; the text is fit for a log line and for a person."""


class JournalUnavailable(JournalError):
    """The file cannot be opened, read or written now; the same call may work later."""


class JournalInUse(JournalUnavailable):
    """Another process holds this journal."""


class JournalGone(JournalUnavailable):
    """The file was removed or replaced while in use; opening the path anew is the way on."""


class NewerJournal(JournalUnavailable):
    """The file was written by a later version of labmon; it is left untouched."""


class JournalDamaged(JournalError):
    """The file is not, or no longer, a sound journal; it must be set aside and a new one begun."""


class Unpackable(ValueError):
    """An exchange that must not enter the journal: it breaks its layout, or a value is not a finite number."""
