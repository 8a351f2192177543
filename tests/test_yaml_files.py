import pytest

from layalign.errors import ConfigError
from layalign.yaml_files import apply_override, read_yaml


def written(tmp_path, text):
    path = tmp_path / "file.yaml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3\n", r"'a' is given twice \(line 3\)"),
        ("a:\n  b: 1\n  b: 2\n", r"'b' is given twice \(line 3\)"),
        ("a: [1\n", "not valid YAML in line 2"),
        ("a: 1\n? [b]\n: 2\n", "line 2: expected text as a key"),
        ("- 1\n", "holds list; expected a mapping"),
        ("", "holds NoneType"),
        (b"a: \xff\n", "not UTF-8"),
        ("a: !!python/object/apply:os.system [true]\n", "not valid YAML"),
    ],
)
def test_bad_files(text, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        read_yaml(written(tmp_path, text))


def test_no_file(tmp_path):
    with pytest.raises(ConfigError, match="No such file"):
        read_yaml(tmp_path / "none.yaml")


def test_a_merged_key_is_not_given_twice(tmp_path):
    text = "a: &a {x: 1, y: 2}\nb: {<<: *a, x: 3}\n"
    assert read_yaml(written(tmp_path, text))["b"] == {"x": 3, "y": 2}


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("a.b=2", {"a": {"b": 2}, "c": [{"d": 1}]}),
        ("a=null", {"a": None, "c": [{"d": 1}]}),
        ("c.0.d=[x, y]", {"a": {"b": 1}, "c": [{"d": ["x", "y"]}]}),
        ("c.0=5", {"a": {"b": 1}, "c": [5]}),
        ("e.f.g=a=b", {"a": {"b": 1}, "c": [{"d": 1}], "e": {"f": {"g": "a=b"}}}),
    ],
)
def test_overrides(override, expected):
    values = {"a": {"b": 1}, "c": [{"d": 1}]}
    apply_override(values, override)
    assert values == expected


@pytest.mark.parametrize(
    ("text", "override", "expected"),
    [
        ("a: &a {x: 1}\nb: *a\n", "b.x=2", {"a": {"x": 1}, "b": {"x": 2}}),
        ("a: &a [1, 2]\nb: {c: *a}\n", "b.c.0=3", {"a": [1, 2], "b": {"c": [3, 2]}}),
        ("a: &a {x: [1]}\nb: {<<: *a}\n", "a.x.0=2", {"a": {"x": [2]}, "b": {"x": [1]}}),
    ],
)
def test_what_shares_a_value_through_an_anchor_keeps_it(text, override, expected, tmp_path):
    values = read_yaml(written(tmp_path, text))
    apply_override(values, override)
    assert values == expected


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("a", "not key=value"),
        ("=1", "not key=value"),
        ("a.b.x=1", "a.b is 1 and has no settings inside"),
        ("c.7=1", "expected an index from 0 to 0"),
        ("c.\u00b2=1", "expected an index from 0 to 0"),
        ("c.0.d.x.y=1", "c.0.d is 1 and has no settings inside"),
        ("a=[", "not valid YAML"),
    ],
)
def test_bad_overrides(override, message):
    with pytest.raises(ConfigError, match=message):
        apply_override({"a": {"b": 1}, "c": [{"d": 1}]}, override)
