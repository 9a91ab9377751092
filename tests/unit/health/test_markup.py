"""Nothing becomes markup by accident."""

from health.markup import Html, join, tag


def test_text_is_escaped_and_markup_is_not() -> None:
    assert tag("p", "<b>", Html("<i></i>"), 5, None) == "<p>&lt;b&gt;<i></i>5</p>"


def test_markup_inside_markup_is_escaped_once() -> None:
    assert join(tag("b", "&"), "&") == "<b>&amp;</b>&amp;"


def test_attributes_are_escaped_and_named() -> None:
    shown = tag("td", class_="a", data_label='"x"', id=None)
    assert shown == '<td class="a" data-label="&quot;x&quot;"></td>'


def test_void_elements_have_no_end() -> None:
    assert tag("br") == "<br>"
    assert tag("rect", x=0) == '<rect x="0"/>'


def test_joining_changes_the_type_not_the_text() -> None:
    assert isinstance(join("a"), Html)
