"""Chat templates that cannot be used: what is wrong, where, and what to do about it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from rkllm_rs import FileMissingError, TemplateError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Opener

ASK = [{"role": "user", "content": "Hi"}]
PLAIN = "{% for message in messages %}[{{ message.role }}]{{ message.content }}{% endfor %}[assistant]"


@pytest.mark.parametrize(
    ("template", "reason", "line", "hint"),
    [
        ("a\n{% for %}", "parse", 2, "Correct the template"),
        ("a\n\n{{ 'x' | frobnicate }}", "frobnicate", 3, "Correct the template"),
        ("{% macro m(x) %}{{ m(x) }}{% endmacro %}\n{{ m(1) }}", "levels deep", None, "macro"),
        ("{% for i in range(1000000) %}{{ i }}{% endfor %}", "too many steps", None, "another template"),
        ("a\n{{ messages[0].content.x.y }}", "undefined", 2, "keys"),
        ("a\n{{ 1 + [] }}", "cannot add", 2, "keys"),
        ("{{ raise_exception('no cats') }}", "no cats", None, "the template's own"),
    ],
)
def test_what_is_wrong_is_told_with_its_place_and_what_to_do(
    open_model: Opener, tmp_path: Path, template: str, reason: str, line: int | None, hint: str
) -> None:
    path = tmp_path / "own.jinja"
    path.write_text(template)
    llm = open_model(["a"], chat_template=PLAIN)
    for given, file in ((template, None), (path, str(path))):
        with pytest.raises(TemplateError) as caught:
            llm.chat(ASK, chat_template=given)
        error = caught.value
        assert reason in str(error)
        assert (error.filename, error.lineno) == (file, line)
        assert file is None or file in str(error)
        assert hint in str(error.hint)


def test_one_of_several_templates_is_chosen_by_its_name(
    open_model: Opener, make_model: Callable[..., Path]
) -> None:
    path = make_model(["a"])
    (path.parent / "chat_template.jinja").write_text(PLAIN)
    folder = path.parent / "additional_chat_templates"
    folder.mkdir()
    (folder / "rag.jinja").write_text("rag " + PLAIN)
    assert open_model(path).render_chat(ASK) == "[user]Hi[assistant]"
    llm = open_model(path, chat_template="rag")
    assert llm.render_chat(ASK) == "rag [user]Hi[assistant]"
    assert llm.chat(ASK, chat_template="default").content == "a"
    with pytest.raises(FileMissingError) as caught:
        llm.chat(ASK, chat_template="rgg")
    assert "default, rag" in str(caught.value.hint)
