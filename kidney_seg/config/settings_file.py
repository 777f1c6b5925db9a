"""The option `--config`: settings from a JSON or YAML file, such as the `config.json` of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from data_prep.errors import InputError, require
from data_prep.files.json_files import read_json
from data_prep.files.regular_files import check_regular
from kidney_seg.config.checks import check, refuse_gamma
from kidney_seg.config.run_config import Config, setting_owner

LARGEST_BYTES = 1 << 20


def read_settings(path: str | Path, base: Config) -> Config:
    """Return `base` with the settings of a `.json`, `.yaml` or `.yml` file, which needs only those that differ.

    They stand in their sections, as in the `config.json` of a run, or without, as `steps: 500`. InputError with the
    path for anything else; YAML needs the package PyYAML.
    """
    path = Path(path)
    try:
        content = _content(path)
        check(isinstance(content, dict), "file", content, "names of settings with their values")
        made = base.to_dict()
        for name, value in content.items():
            if name in made:
                check(isinstance(value, dict), name, value, f"the settings of {name}")
                for key in value:
                    _owner(key)
                made[name] = {**made[name], **value}
            else:
                section = _owner(name)
                made[section] = {**made[section], name: value}
        return Config.from_dict(made)
    except InputError as error:
        raise InputError(error.detail, error.path or path, error.code) from None


def _owner(name: Any) -> str:
    if name == "gamma":
        refuse_gamma("gamma")
    return setting_owner(str(name))


def _content(path: Path) -> Any:
    if path.suffix.lower() == ".json":
        return read_json(path, "file of settings")
    if path.suffix.lower() not in (".yaml", ".yml"):
        raise InputError("expected a name that ends in .json, .yaml or .yml", path, "wrong_name")
    yaml = require("yaml", "yaml")
    check_regular(path)
    try:
        if path.stat().st_size > LARGEST_BYTES:
            raise InputError(f"is larger than {LARGEST_BYTES} bytes; expected a file of settings", path)
        text = path.read_text(encoding="utf-8")
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, yaml.SafeLoader)):
            raise ValueError("aliases (*name) are not read: a short file may mean billions of values")
        return yaml.safe_load(text)
    except FileNotFoundError:
        raise InputError("no file of settings here", path, "no_such_file") from None
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        why = " ".join(str(error).split())[:200]
        raise InputError(f"the file of settings cannot be read ({why}); correct it", path) from None
