"""Every key of the grammar has words of its own: the reference page is made of them."""

from labmon.drivers import reference


def test_every_key_says_what_it_is() -> None:
    assert reference.undocumented() == []


def test_the_page_names_every_model_that_it_links_to() -> None:
    page = reference.page()
    assert "| `baud` | integer (at least 50, at most 4000000) | left out | Bits per second. Left out: not known" in page
    assert "or a parameter" in page
