"""Which release a library is taken for, and when it is refused."""

from __future__ import annotations

import pytest

from fakes import BANNERS, LAYOUTS, calls, fake_library
from rkllm_rs import RKLLM, InvalidArgumentError, Runtime, UnsupportedRuntimeError
from support import newest, succeed

RELEASES = {
    "v1_1_0": "1.1.4",
    "v1_2_0": "1.2.0",
    "v1_2_1": "1.2.3",
    "v1_3_0": "1.3.0",
    "v1_3_1": "1.3.1",
}
EVERY = pytest.mark.parametrize("abi_version", LAYOUTS)
LATE = pytest.mark.parametrize("abi_version", ["v1_2_1", "v1_3_0", "v1_3_1"])
EARLY = pytest.mark.parametrize("abi_version", ["v1_1_0", "v1_2_0"])


def banner(release):
    return f"RKLLM SDK (version: {release} | target: Linux | build: fake)"


@pytest.fixture
def make(tmp_path, abi_version, record):
    """Makes libraries of the layout; none of them may be asked to open a model."""

    def make(of=None, **options):
        return fake_library(tmp_path / "lib", of or abi_version, record=record, quiet=True, **options)

    yield make
    assert not calls(record, "rkllm_init")


def kinds(identity):
    return {piece.kind: piece for piece in identity.evidence}


def refusal(library, model=None, **keywords):
    with pytest.raises(UnsupportedRuntimeError) as caught:
        Runtime.load(library, **keywords)
    assert caught.value.hint
    assert str(library) in str(caught.value)
    if model:
        with pytest.raises(UnsupportedRuntimeError):
            RKLLM(model, library=library, **keywords)
    return str(caught.value)


@pytest.mark.hazard("V2")
@EVERY
def test_with_banner(make, abi_version):
    identity = Runtime.load(make()).identity
    assert (identity.abi, identity.version) == (abi_version, RELEASES[abi_version])
    found = kinds(identity)
    assert RELEASES[abi_version] in found["banner"].finding
    assert found["banner"].allows == abi_version
    assert {"symbols", "defaults"} <= set(found)
    assert abi_version in repr(identity)
    assert "banner" in repr(found["banner"])


@pytest.mark.parametrize("abi_version", LAYOUTS[:3])
def test_without_banner(make, abi_version):
    identity = Runtime.load(make(banner=None)).identity
    assert (identity.abi, identity.version) == (abi_version, None)
    assert "banner" not in kinds(identity)


@pytest.mark.parametrize("abi_version", LAYOUTS[3:])
def test_functions_and_defaults_do_not_separate_1_3_0_from_1_3_1(make, make_model, abi_version):
    library = make(banner=None)
    message = refusal(library, make_model(["a"]))
    assert "v1_3_0 or v1_3_1" in message
    identity = Runtime.load(library, abi=abi_version).identity
    assert (identity.abi, identity.version) == (abi_version, None)
    assert "explicit" in kinds(identity)


@EARLY
def test_functions_are_enough_where_they_separate(make, abi_version):
    assert Runtime.load(make(banner=None, defaults="garbage")).identity.abi == abi_version


@LATE
@pytest.mark.parametrize("text", [None, "its own"])
def test_unclear_defaults_are_too_little(make, make_model, abi_version, text):
    options = {} if text else {"banner": None}
    library = make(defaults="garbage", **options)
    message = refusal(library, make_model(["a"]))
    if text:
        assert f'abi="{abi_version}"' in message
    else:
        assert "v1_2_1 or v1_3_0 or v1_3_1" in message
    # The caller may know better.
    identity = Runtime.load(library, abi=abi_version).identity
    assert identity.abi == abi_version
    assert "explicit" in kinds(identity)


@pytest.mark.hazard("V1")
@EVERY
def test_a_banner_of_another_layout(make, abi_version, make_model):
    for other in LAYOUTS:
        # Nothing but the banner tells these two apart: `test_without_banner` and its neighbour.
        if other != abi_version and {other, abi_version} != {"v1_3_0", "v1_3_1"}:
            library = make(banner=BANNERS[other], name=f"{other}.so")
            message = refusal(library, make_model(["a"]))
            assert RELEASES[other] in message
            assert "abi=" not in message


@pytest.mark.hazard("V1")
@LATE
def test_defaults_of_another_layout(make, abi_version, make_model):
    other = "v1_3_1" if abi_version == "v1_2_1" else "v1_2_1"
    for text in (None, BANNERS[abi_version]):
        library = make(banner=text, defaults={"as": other}, name=f"{bool(text)}.so")
        if text is None:
            # Nothing contradicts them then, except who knows better.
            message = refusal(library, abi=abi_version)
            assert f'abi="{abi_version}"' in message
        else:
            assert "abi=" not in refusal(library, make_model(["a"]))


def test_a_newer_release(tmp_path, make, abi_version, record):
    touched = tmp_path / "opened"
    library = make(banner=banner("1.4.0"), constructor_touch=touched)
    message = refusal(library)
    for release in ("1.4.0", "1.3.1"):
        assert release in message
    # Refused by what stands in the file: nothing of it was run.
    assert not touched.exists()
    assert not calls(record)
    runtime = Runtime.load(library, abi=abi_version)
    assert (runtime.identity.abi, runtime.identity.version) == (abi_version, "1.4.0")
    assert touched.exists()


@LATE
def test_an_unknown_release_of_a_known_series(make, abi_version):
    releases = {"v1_2_1": "1.2.9", "v1_3_0": "1.3.0b2", "v1_3_1": "1.3.1b1"}
    library = make(banner=banner(releases[abi_version]))
    assert "not known" in refusal(library)
    assert Runtime.load(library, abi=abi_version).identity.abi == abi_version


@pytest.mark.hazard("V1")
@EVERY
def test_abi_overrides_nothing(make, abi_version, make_model):
    for other in LAYOUTS:
        if other != abi_version:
            library = make(name=f"{other}.so")
            message = refusal(library, make_model(["a"]), abi=other)
            assert f'abi="{other}"' in message
            assert abi_version in message
    assert Runtime.load(make(name="right.so"), abi=abi_version).identity.abi == abi_version


@newest
def test_abi_of_a_library_that_is_loaded(make):
    library = make(banner=banner("1.4.0"))
    Runtime.load(library, abi="v1_3_1")
    message = refusal(library, abi="v1_2_1")
    for abi in ("v1_2_1", "v1_3_1"):
        assert f'abi="{abi}"' in message
    # Loaded is loaded: the caller has vouched for it.
    assert Runtime.load(library).identity.abi == "v1_3_1"


@newest
@pytest.mark.parametrize("abi", ["v9", "", "1.4.0", "latest"])
def test_abi_must_name_a_layout(make, abi):
    with pytest.raises(InvalidArgumentError) as caught:
        Runtime.load(make(), abi=abi)
    assert "v1_3_0" in f"{caught.value} {caught.value.hint}"


@pytest.mark.parametrize("abi_version", ["v1_2_0"])
def test_1_2_1b1_has_the_layouts_of_1_2_0(make, abi_version):
    runtime = Runtime.load(make(banner=banner("1.2.1b1")))
    assert (runtime.identity.abi, runtime.identity.version) == ("v1_2_0", "1.2.1b1")
    assert "multi_image" in runtime.capabilities
    assert "role" not in runtime.capabilities


@pytest.mark.hazard("N3", "N6")
@newest
@pytest.mark.parametrize("text", [None, "1.0.0", "1.0.1", "1.0.2"])
@pytest.mark.parametrize("abi", [None, "v1_1_0"])
def test_1_0_is_recognised(make, make_model, text, abi):
    library = make("v1_0_1", banner=text and banner(text))
    message = refusal(library, make_model(["a"]), abi=abi)
    assert "1.0.x" in message
    assert "1.1.0 or later" in message


@newest
def test_a_banner_of_1_0_on_a_later_library(make, make_model):
    refusal(make(banner=banner("1.0.1")), make_model(["a"]))


def test_the_process_lives_after_a_refusal(library, make_model, tmp_path, abi_version):
    wrong = fake_library(tmp_path / "wrong", abi_version, banner=banner("1.4.0"))
    code = """
    try:
        RKLLM(model, library=sys.argv[3])
    except UnsupportedRuntimeError as error:
        say(type(error).__name__)
    with RKLLM(model, library=library) as llm:
        say(llm.generate("x").text)
    """
    assert succeed(code, library, make_model(["fine"]), wrong) == ["UnsupportedRuntimeError", "fine"]
